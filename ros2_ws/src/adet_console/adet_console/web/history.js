// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// The last verdicts: chart, table with filters, one image in detail, export.
import uPlot from './vendor/uPlot.esm.js';
import { get, unpack } from './api.js';
import { byId, element, kind, show } from './dom.js';
import { language, number, rarity, summary, t, time } from './i18n.js';
import { mark } from './teach.js';

const ROWS = 200;
const COLUMNS = ['when', 'verdict', 'score', 'threshold', 'latency', 'mark', 'bundle'];
let plot = null;
let verdicts = [];
let detector = '';
let opened = null;
let rows = new Map();

export function matches(verdict, filter, from) {
  if (Number.isFinite(from) && verdict.score < from) return false;
  if (filter === 'all') return true;
  if (filter === 'marked') return verdict.mark !== '';
  return kind(verdict) === filter;
}

export function showHistory(key, all) {
  detector = key;
  verdicts = all;
  table();
  chart();
}

function table() {
  const from = byId('score-from').value === '' ? Number.NaN : Number(byId('score-from').value);
  const found = verdicts.filter((one) => matches(one, byId('filter').value, from)).slice(-ROWS).reverse();
  const made = byId('verdicts');
  made.tHead.replaceChildren(element('tr', {}, ...COLUMNS.map((key) => element('th', { scope: 'col' }, t(key)))));
  const focused = made.contains(document.activeElement) ? document.activeElement.dataset.stamp : '';
  const before = rows;
  rows = new Map(found.map((one) => {
    const key = `${language} ${one.stamp} ${one.mark}`;
    return [key, before.get(key) ?? row(one)];
  }));
  arrange(made.tBodies[0], [...rows.values()]);
  // Who reads a row by the keyboard stays there while it is marked.
  if (focused) made.querySelector(`tr[data-stamp="${focused}"]`)?.focus({ preventScroll: true });
}

// Rows that stay are left in place: a click would be lost on one that is put in anew under it.
function arrange(body, wanted) {
  const kept = new Set(wanted);
  for (const one of [...body.children]) if (!kept.has(one)) one.remove();
  let at = body.firstElementChild;
  for (const one of wanted) {
    if (one === at) at = at.nextElementSibling;
    else body.insertBefore(one, at);
  }
}

function row(verdict) {
  const which = kind(verdict);
  const made = element(
    'tr',
    { tabIndex: 0, 'data-stamp': verdict.stamp },
    element('td', {}, time(verdict.stamp)),
    element('td', { 'data-verdict': which }, t(which)),
    element('td', {}, number(verdict.score)),
    element('td', {}, number(verdict.threshold)),
    element('td', {}, `${number(verdict.inference_ms, 3)} ms`),
    element('td', {}, verdict.mark ? t(verdict.mark) : ''),
    element('td', {}, verdict.bundle_id),
  );
  made.addEventListener('click', () => open(verdict));
  made.addEventListener('keydown', ({ key }) => {
    if (key === 'Enter' || key === ' ') open(verdict);
    else if (key === 'ArrowDown') made.nextElementSibling?.focus();
    else if (key === 'ArrowUp') made.previousElementSibling?.focus();
  });
  return made;
}

function chart() {
  const shown = verdicts.filter((one) => !one.error);
  const data = [shown.map((_, index) => index), shown.map((one) => one.score), shown.map((one) => one.threshold)];
  const box = byId('chart');
  box.ariaLabel = `${t('chart')}: ${summary(shown, shown.at(-1)?.threshold)}`;
  if (plot) {
    plot.setData(data);
    return;
  }
  const style = getComputedStyle(document.body);
  const colour = (name) => style.getPropertyValue(name).trim();
  plot = new uPlot(
    {
      width: box.clientWidth, height: 200, legend: { show: false },
      scales: { x: { time: false } },
      axes: [{ stroke: colour('--quiet') }, { stroke: colour('--quiet'), size: 60 }],
      series: [
        {},
        { stroke: colour('--accent'), width: 1, points: { show: true, size: 5, fill: colour('--accent') } },
        { stroke: colour('--bad'), width: 2, points: { show: false } },
      ],
    },
    data,
    box,
  );
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 200 })).observe(box);
}

async function open(verdict) {
  opened = verdict;
  byId('details-title').textContent = `${time(verdict.stamp)}: ${t(kind(verdict))}`;
  byId('details-text').textContent =
    verdict.error ||
    `${t('score')} ${number(verdict.score)}, ${t('threshold')} ${number(verdict.threshold)}, ${t('goodParts')}: ${rarity(verdict.p_value)}`;
  byId('details-note').textContent = '';
  for (const id of ['details-plain', 'details-overlay']) byId(id).removeAttribute('src');
  byId('details').showModal();
  try {
    const query = new URLSearchParams({ detector, stamp: verdict.stamp });
    const frame = unpack(await (await get(`/api/frame?${query}`)).arrayBuffer());
    show(byId('details-plain'), frame.plain);
    show(byId('details-overlay'), frame.overlay);
  } catch (error) {
    byId('details-note').textContent = error.status === 404 ? t('notKept') : error.message;
  }
}

function exportCsv() {
  const names = ['stamp', 'score', 'normalised_score', 'threshold', 'is_anomalous', 'is_uncertain', 'inference_ms', 'bundle_id', 'mark', 'p_value', 'category'];
  const lines = [names.join(','), ...verdicts.map((one) => names.map((name) => String(one[name] ?? '')).join(','))];
  const link = element('a', { download: `${detector.replaceAll('/', '_')}.csv` });
  link.href = URL.createObjectURL(new Blob([lines.join('\n') + '\n'], { type: 'text/csv' }));
  link.click();
  URL.revokeObjectURL(link.href);
}

export function listen() {
  byId('filter').addEventListener('change', table);
  byId('score-from').addEventListener('input', table);
  byId('export').addEventListener('click', exportCsv);
  byId('details-close').addEventListener('click', () => byId('details').close());
  byId('details-fine').addEventListener('click', () => mark(detector, opened, 'fine', byId('details-note')));
  byId('details-bad').addEventListener('click', () => mark(detector, opened, 'bad', byId('details-note')));
}
