// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// What another threshold would have done to the last verdicts, and setting it.
import uPlot from './vendor/uPlot.esm.js';
import { get, post } from './api.js';
import { byId, element } from './dom.js';
import { number, percent, summary, t } from './i18n.js';
import { speaker } from './say.js';

const BINS = 48;
const say = speaker('say-threshold');
let plot = null;
let scores = [];
let detector = '';
let part = '';
let current = Number.NaN;
let touched = false;
let previous = null;
let bundle = '';
let known = null;

// How many of the last verdicts a threshold would have rejected; exported for its test.
export function wouldReject(verdicts, threshold) {
  const judged = verdicts.filter((one) => !one.error);
  const rejected = (ones) => ones.filter((one) => one.score >= threshold).length;
  const good = judged.filter((one) => one.mark === 'fine');
  const bad = judged.filter((one) => one.mark === 'bad');
  return {
    all: judged.length, rejected: rejected(judged),
    good: good.length, goodRejected: rejected(good), bad: bad.length, badRejected: rejected(bad),
  };
}

// How many scores of a kind, in ascending order, are at or above a threshold, of how many, and the interval of that
// share; exported for its test.
export function atThreshold({ scores: all, intervals }, threshold) {
  const count = all.filter((score) => score >= threshold).length;
  const [low, high] = intervals[count];
  return { count, total: all.length, low, high };
}

// What the bundle knows of its threshold is asked for once, where it lies beside the console.
async function learn(verdict) {
  bundle = verdict.bundle_id;
  known = null;
  try {
    known = await (await get(`/api/known?${new URLSearchParams({ detector })}`)).json();
  } catch {
    // Not told yet: the next verdict asks again.
    bundle = '';
  }
  tell();
}

function tellKnown(threshold) {
  byId('promise').textContent = known?.detail ?? '';
  const table = byId('known');
  table.hidden = !known || !Number.isFinite(threshold);
  if (table.hidden) return;
  table.tHead.replaceChildren(
    element('tr', {}, ...['ofTheBundle', 'rejected', 'share'].map((key) => element('th', { scope: 'col' }, t(key)))),
  );
  table.tBodies[0].replaceChildren(
    ...Object.entries(known.kinds).map(([kind, scoresOfKind]) => {
      const { count, total, low, high } = atThreshold(scoresOfKind, threshold);
      const share = `${percent(count / total)}, ${t('interval', { low: percent(low), high: percent(high) })}`;
      return element(
        'tr',
        {},
        element('th', { scope: 'row' }, t(kind)),
        element('td', {}, t('countOf', { count, total })),
        element('td', {}, share),
      );
    }),
  );
}

export function histogram(verdicts) {
  const values = verdicts.filter((one) => !one.error).map((one) => one.score);
  if (!values.length) return null;
  const low = Math.min(...values);
  const step = (Math.max(...values) - low) / BINS || 1;
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / step))] += 1;
  return { low, high: low + BINS * step, data: [counts.map((_, bin) => low + (bin + 0.5) * step), counts] };
}

export function showThreshold(key, all) {
  const newest = all.at(-1);
  // Each category has a threshold and scores of its own.
  const verdicts = all.filter((one) => one.category === newest.category);
  if (key !== detector || newest?.category !== part) {
    detector = key;
    part = newest?.category;
    touched = false;
    previous = null;
    bundle = '';
    byId('undo').disabled = true;
  }
  scores = verdicts;
  current = newest?.threshold ?? Number.NaN;
  if (newest && !newest.error && newest.bundle_id !== bundle) learn(newest);
  if (!touched) place(current);
  const found = histogram(verdicts);
  if (found) draw(found);
  tell();
}

function draw({ low, high, data }) {
  const slider = byId('slider');
  const value = slider.value;
  slider.min = Math.min(low, current);
  slider.max = Math.max(high, current);
  slider.value = touched ? value : current;
  if (plot) {
    plot.setData(data);
    return;
  }
  const colour = getComputedStyle(document.body).getPropertyValue('--accent').trim();
  const text = getComputedStyle(document.body).getPropertyValue('--quiet').trim();
  const box = byId('histogram');
  plot = new uPlot(
    {
      width: box.clientWidth, height: 170, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false } },
      axes: [{ stroke: text }, { stroke: text, size: 40 }],
      series: [{}, { fill: colour, stroke: colour, paths: uPlot.paths.bars({ size: [0.9] }), points: { show: false } }],
      hooks: { draw: [line] },
    },
    data,
    box,
  );
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 170 })).observe(box);
}

function line(chart) {
  const x = chart.valToPos(Number(byId('value').value), 'x', true);
  const { top, height } = chart.bbox;
  chart.ctx.save();
  chart.ctx.strokeStyle = getComputedStyle(document.body).getPropertyValue('--text');
  chart.ctx.lineWidth = 2 * devicePixelRatio;
  chart.ctx.beginPath();
  chart.ctx.moveTo(x, top);
  chart.ctx.lineTo(x, top + height);
  chart.ctx.stroke();
  chart.ctx.restore();
}

function place(value) {
  byId('slider').value = value;
  byId('value').value = Number.isFinite(value) ? Number(value.toPrecision(6)) : '';
  plot?.redraw();
}

function tell() {
  const threshold = Number(byId('value').value);
  const found = wouldReject(scores, threshold);
  const texts = [found.all ? t('whatIf', { ...found, value: number(threshold) }) : t('whatIfNone')];
  if (found.good + found.bad) texts.push(t('whatIfMarked', found));
  byId('what-if').textContent = texts.join(' ');
  byId('histogram').ariaLabel = `${t('histogram')}: ${summary(scores, threshold)}`;
  tellKnown(threshold);
}

async function apply(value) {
  try {
    const { before } = await post('/api/threshold', { detector, value });
    previous = before;
    byId('undo').disabled = before === null;
    touched = false;
    byId('what-if').textContent = t('applied', { value: number(value), before: number(before) });
  } catch (error) {
    byId('what-if').textContent = error.message;
  }
  say(byId('what-if').textContent);
}

export function listen() {
  byId('slider').addEventListener('input', ({ target }) => {
    touched = true;
    place(Number(target.value));
    tell();
    say(byId('what-if').textContent);
  });
  byId('value').addEventListener('input', ({ target }) => {
    touched = true;
    byId('slider').value = target.value;
    plot?.redraw();
    tell();
    say(byId('what-if').textContent);
  });
  byId('apply').addEventListener('click', () => apply(Number(byId('value').value)));
  byId('undo').addEventListener('click', () => {
    place(previous);
    apply(previous);
  });
}
