'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const element = (id) => document.getElementById(id);
const root = document.documentElement;
const NORMAL = 0, ANOMALY = 1;
const state = { model: data.models[0], threshold: data.models[0].threshold };

function colour(name) { return getComputedStyle(root).getPropertyValue('--' + name).trim(); }

function percent(share) { return share === null ? 'needs labels' : (100 * share).toFixed(1) + ' %'; }

/* How many images of each label lie at or above a threshold, and below it. */
function countAt(model, threshold) {
  const counts = { [NORMAL]: [0, 0], [ANOMALY]: [0, 0], '-1': [0, 0] };
  model.scores.forEach((score, i) => { counts[model.labels[i]][score >= threshold ? 1 : 0] += 1; });
  return counts;
}

function ratesOf(counts) {
  const [accepted, rejected] = counts[NORMAL], [missed, hit] = counts[ANOMALY];
  return {
    falseReject: accepted + rejected ? rejected / (accepted + rejected) : null,
    falseAccept: missed + hit ? missed / (missed + hit) : null,
    f1: missed + hit ? 2 * hit / (2 * hit + rejected + missed) : null,
    precision: hit + rejected ? hit / (hit + rejected) : null,
  };
}

/* One point for each distinct score, from the strictest threshold on. */
function curvesOf(model) {
  const order = model.scores.map((score, i) => [score, model.labels[i]]).filter((pair) => pair[1] >= 0);
  order.sort((a, b) => b[0] - a[0]);
  const anomalies = order.filter((pair) => pair[1] === ANOMALY).length, normals = order.length - anomalies;
  if (!anomalies || !normals) { return null; }
  const roc = { x: [0], y: [0] }, pr = { x: [], y: [] };
  let hits = 0, alarms = 0;
  order.forEach(([score, label], i) => {
    if (label === ANOMALY) { hits += 1; } else { alarms += 1; }
    if (i + 1 < order.length && order[i + 1][0] === score) { return; }
    roc.x.push(alarms / normals); roc.y.push(hits / anomalies);
    pr.x.push(hits / anomalies); pr.y.push(hits / (hits + alarms));
  });
  return { roc, pr };
}

function layout(x, y, more) {
  const axis = (text) => ({ title: { text }, gridcolor: colour('line'), zerolinecolor: colour('line'), linecolor: colour('line'), automargin: true });
  return Object.assign({
    margin: { l: 50, r: 15, t: 30, b: 45 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
    font: { color: colour('text'), family: 'system-ui, sans-serif', size: 13 },
    xaxis: axis(x), yaxis: axis(y), legend: { orientation: 'h', y: 1.02, yanchor: 'bottom' }, showlegend: true,
  }, more);
}

function draw(id, traces, x, y, more) {
  Plotly.react(id, traces, layout(x, y, more), { responsive: true, displayModeBar: false });
}

function verticalLine(x) {
  return { type: 'line', x0: x, x1: x, y0: 0, y1: 1, yref: 'paper', line: { color: colour('text'), width: 2, dash: 'dash' } };
}

function drawHistogram() {
  const model = state.model;
  const kinds = [[NORMAL, 'good', 'good'], [ANOMALY, 'anomalous', 'bad'], [-1, 'unlabelled', 'unknown']];
  const bins = { start: model.low, end: model.high, size: (model.high - model.low) / 50 || 1 };
  const traces = kinds.map(([label, name, shade]) => ({
    type: 'histogram', name, marker: { color: colour(shade) }, opacity: 0.7, xbins: bins,
    x: model.scores.filter((_, i) => model.labels[i] === label),
  })).filter((trace) => trace.x.length);
  draw('histogram', traces, 'raw score', 'images', { barmode: 'overlay', shapes: [verticalLine(state.threshold)] });
}

function drawCurves() {
  const curves = data.models.map(curvesOf);
  element('curves').hidden = curves.every((one) => one === null);
  if (element('curves').hidden) { return; }
  const shades = ['accent', 'bad', 'good', 'unknown'];
  const trace = (kind) => curves.flatMap((one, i) => one === null ? [] : [{
    type: 'scatter', mode: 'lines', name: data.models[i].name, x: one[kind].x, y: one[kind].y,
    line: { color: colour(shades[i % shades.length]), shape: kind === 'pr' ? 'vh' : 'linear', width: data.models[i] === state.model ? 3 : 1.5 },
  }]);
  const rates = ratesOf(countAt(state.model, state.threshold));
  const mark = (x, y) => x === null || y === null ? [] : [{
    type: 'scatter', mode: 'markers', name: 'threshold', x: [x], y: [y],
    marker: { size: 12, color: colour('text'), symbol: 'circle-open', line: { width: 3 } },
  }];
  const recall = rates.falseAccept === null ? null : 1 - rates.falseAccept;
  const range = { xaxis: { range: [-0.02, 1.02] }, yaxis: { range: [-0.02, 1.05] } };
  const both = (x, y) => {
    const made = layout(x, y);
    Object.assign(made.xaxis, range.xaxis); Object.assign(made.yaxis, range.yaxis);
    return { xaxis: made.xaxis, yaxis: made.yaxis };
  };
  draw('roc', [...trace('roc'), ...mark(rates.falseReject, recall)], '', '', both('false-reject rate', 'share of anomalies found'));
  draw('pr', [...trace('pr'), ...mark(recall, rates.precision)], '', '', both('recall', 'precision'));
}

function drawTime() {
  const model = state.model;
  const kinds = [[NORMAL, 'good', 'good'], [ANOMALY, 'anomalous', 'bad'], [-1, 'unlabelled', 'unknown']];
  const traces = kinds.map(([label, name, shade]) => {
    const chosen = model.scores.map((_, i) => i).filter((i) => model.labels[i] === label);
    return {
      type: model.scores.length > 5000 ? 'scattergl' : 'scatter', mode: 'markers', name, marker: { color: colour(shade), size: 5 },
      x: chosen.map((i) => model.times[i]), y: chosen.map((i) => model.scores[i]),
    };
  }).filter((trace) => trace.x.length);
  const shapes = [{ type: 'line', x0: 0, x1: 1, xref: 'paper', y0: state.threshold, y1: state.threshold, line: { color: colour('text'), width: 2, dash: 'dash' } }];
  model.drift.forEach((x) => shapes.push({ ...verticalLine(x), line: { color: colour('bad'), width: 2 } }));
  draw('time', traces, data.time_axis, 'raw score', { shapes });
  element('drift').textContent = model.drift_text;
}

function drawLatency() {
  const model = state.model;
  draw('latency', [{ type: 'histogram', x: model.latency, marker: { color: colour('accent') }, nbinsx: 50, name: 'images' }],
    'milliseconds', 'images', { showlegend: false });
}

/* What the bundle knows: of each kind how many reach the threshold, with the exact interval of that count. */
const KINDS = {
  normals: 'held-out normal images', anomalies: 'known anomalies', made_up_faint: 'faint made-up defects',
  made_up_clear: 'clear made-up defects', made_up_strong: 'strong made-up defects',
};

function showKnown() {
  const known = state.model.known;
  element('known').hidden = known === null;
  if (known === null) { return; }
  element('promise').textContent = known.threshold.toPrecision(5) + (known.detail ? ', ' + known.detail : '');
  const rows = Object.entries(known.kinds).map(([kind, { scores, intervals }]) => {
    const count = scores.filter((score) => score >= state.threshold).length, [low, high] = intervals[count];
    const row = document.createElement('tr'), name = document.createElement('th'), told = document.createElement('td');
    name.scope = 'row';
    name.textContent = KINDS[kind] || kind;
    told.textContent = `${count} of ${scores.length}: ${percent(count / scores.length)} (${percent(low)} to ${percent(high)})`;
    row.append(name, told);
    return row;
  });
  element('known').querySelector('tbody').replaceChildren(...rows);
}

/* What an image is at a threshold: its label and its verdict. */
const GALLERIES = {
  mistakes: 'all mistakes', 'normal-1': 'false rejects', 'anomaly-0': 'misses', 'anomaly-1': 'anomalies that are found',
  'normal-0': 'good parts that pass', '-1': 'unlabelled, found anomalous', '-0': 'unlabelled, found normal', all: 'all',
};

function kindAt(item, threshold) { return item.dataset.label + '-' + (Number(item.dataset.score) >= threshold ? 1 : 0); }

function isMistake(kind) { return kind === 'normal-1' || kind === 'anomaly-0'; }

/* The images of the chosen kind at the slider's threshold, in the chosen order. */
function showGallery() {
  const section = document.querySelector(`[data-model="${data.models.indexOf(state.model)}"] .images`);
  if (!section) { return; }
  const select = section.querySelector('.kind'), list = section.querySelector('.gallery'), items = [...list.children];
  const kinds = items.map((item) => kindAt(item, state.threshold)), counts = { all: items.length, mistakes: kinds.filter(isMistake).length };
  kinds.forEach((kind) => { counts[kind] = (counts[kind] || 0) + 1; });
  const labelled = items.some((item) => item.dataset.label);
  const chosen = select.value || (labelled ? 'mistakes' : 'all');
  select.replaceChildren(...Object.keys(GALLERIES).filter((kind) => counts[kind] || kind === chosen).map((kind) => {
    const option = document.createElement('option');
    option.value = kind; option.textContent = `${GALLERIES[kind]} (${counts[kind] || 0})`; option.selected = kind === chosen;
    return option;
  }));
  items.forEach((item, i) => { item.hidden = !(chosen === 'all' || chosen === kinds[i] || (chosen === 'mistakes' && isMistake(kinds[i]))); });
  const score = (item) => Number(item.dataset.score);
  /* A good part is the more wrong the higher it scores, an anomalous one the lower. */
  const wrong = (item) => (item.dataset.label === 'anomaly' ? state.threshold - score(item) : score(item) - state.threshold);
  const orders = { worst: (a, b) => wrong(b) - wrong(a), high: (a, b) => score(b) - score(a), low: (a, b) => score(a) - score(b) };
  list.append(...items.sort(orders[section.querySelector('.order').value]));
}

function aurocOf(model) {
  const curves = curvesOf(model);
  if (curves === null) { return null; }
  const { x, y } = curves.roc;
  return x.slice(1).reduce((sum, right, i) => sum + (right - x[i]) * (y[i + 1] + y[i]) / 2, 0);
}

function showThreshold() {
  const counts = countAt(state.model, state.threshold), rates = ratesOf(counts);
  element('value').textContent = state.threshold.toPrecision(5);
  element('threshold').setAttribute('aria-valuetext', state.threshold.toPrecision(5));
  element('true-good').textContent = counts[NORMAL][0];
  element('false-reject').textContent = counts[NORMAL][1];
  element('false-accept').textContent = counts[ANOMALY][0];
  element('true-anomalous').textContent = counts[ANOMALY][1];
  element('unknown-good').textContent = counts[-1][0];
  element('unknown-anomalous').textContent = counts[-1][1];
  element('frr').textContent = percent(rates.falseReject);
  element('far').textContent = percent(rates.falseAccept);
  const auroc = aurocOf(state.model);
  element('auroc').textContent = auroc === null ? 'needs labels' : auroc.toFixed(3);
  element('f1').textContent = rates.f1 === null ? 'needs labels' : rates.f1.toFixed(3);
  showKnown(); showGallery();
  drawHistogram(); drawCurves(); drawTime();
}

/* The slider has 1000 steps over the scores. */
function fromSlider() { return state.model.low + (state.model.high - state.model.low) * element('threshold').value / 1000; }

function choose(threshold) {
  const { low, high } = state.model;
  state.threshold = threshold;
  element('threshold').value = Math.round(1000 * (threshold - low) / (high - low));
  showThreshold();
}

function show(index) {
  state.model = data.models[index];
  document.querySelectorAll('[data-model]').forEach((one) => { one.hidden = one.dataset.model !== String(index); });
  choose(state.model.threshold);
  drawLatency();
}

function setTheme(theme) { root.dataset.theme = theme; showThreshold(); drawLatency(); }

const dark = window.matchMedia('(prefers-color-scheme: dark)');
root.dataset.theme = dark.matches ? 'dark' : 'light';
dark.addEventListener('change', () => setTheme(dark.matches ? 'dark' : 'light'));
element('theme').addEventListener('click', () => setTheme(root.dataset.theme === 'dark' ? 'light' : 'dark'));
element('threshold').addEventListener('input', () => { state.threshold = fromSlider(); showThreshold(); });
element('reset').addEventListener('click', () => choose(state.model.threshold));
if (element('model')) { element('model').addEventListener('change', (event) => show(event.target.value)); }
document.querySelectorAll('.images select').forEach((select) => select.addEventListener('change', showGallery));
document.querySelectorAll('.zoom').forEach((button) => button.addEventListener('click', () => {
  const image = element('full').querySelector('img');
  image.src = button.firstElementChild.src; image.alt = button.firstElementChild.alt;
  element('full').showModal();
}));
show(0);
