// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// Starts the page: logs in, keeps the state, and hands it to the parts of the page.
import { get, Live, post } from './api.js';
import * as category from './category.js';
import { byId, element } from './dom.js';
import * as history from './history.js';
import { choose, language, LANGUAGES, t } from './i18n.js';
import * as live from './live.js';
import * as newPart from './new_part.js';
import * as shift from './shift.js';
import * as teach from './teach.js';
import * as threshold from './threshold.js';

const LIMIT = 2000;
const state = { detectors: [], nodes: [], verdicts: [], key: '' };
let drawing = false;
const connection = new Live({ onEvent, onFrame: live.showFrame, onState });

function chosen() {
  return state.detectors.find((one) => one.key === state.key);
}

function nodeOf(detector) {
  return state.nodes.find((one) => one.name.includes(`${detector?.namespace ?? ''}/${detector?.model}_detector`));
}

// Many verdicts of one moment are drawn once.
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const detector = chosen();
    live.showVerdict(state.verdicts.at(-1), nodeOf(detector));
    category.showCategory(state.key, nodeOf(detector));
    shift.showNodes(state.nodes);
    if (detector) shift.showCounters(detector.counters, detector.shift);
    threshold.showThreshold(state.key, state.verdicts);
    teach.showMarks(state.verdicts);
    teach.showDrift(nodeOf(detector), state.verdicts);
    history.showHistory(state.key, state.verdicts);
  });
}

function tabs() {
  byId('detectors').replaceChildren(
    ...state.detectors.map(({ key, present }) => {
      const button = element('button', { 'aria-pressed': String(key === state.key) }, present ? key : `${key} (${t('away')})`);
      button.addEventListener('click', () => select(key));
      return button;
    }),
  );
  if (!state.detectors.length) byId('detectors').textContent = t('noDetector');
}

async function select(key) {
  state.key = key;
  live.clearFrame();
  const found = await (await get(`/api/state?${new URLSearchParams({ detector: key })}`)).json();
  take(found);
  connection.watch(key, Math.round(byId('live').clientWidth * devicePixelRatio));
}

function take(found) {
  Object.assign(state, { detectors: found.detectors, nodes: found.nodes, verdicts: found.history });
  document.body.dataset.role = found.role;
  byId('logout').hidden = found.open;
  tabs();
  draw();
}

function onEvent(event) {
  if (event.type === 'detectors') {
    state.detectors = event.detectors;
    tabs();
    if (!state.key && state.detectors.length) select(state.detectors[0].key);
  } else if (event.type === 'health') {
    state.nodes = event.nodes;
  } else if (event.type === 'counters') {
    const detector = state.detectors.find((one) => one.key === event.detector);
    if (detector) detector.counters = event.counters;
  } else if (event.type === 'verdict') {
    if (event.detector === state.key) {
      state.verdicts.push(event.verdict);
      if (state.verdicts.length > LIMIT) state.verdicts.shift();
    }
  } else if (event.type === 'marked' && event.detector === state.key) {
    state.verdicts = state.verdicts.map((one) => (one.stamp === event.verdict.stamp ? event.verdict : one));
  } else if (event.type === 'retrain' && event.detector === state.key) {
    teach.showRetraining(event);
  } else if (event.type === 'collected' && event.detector === state.key) {
    newPart.showCollected(event);
  }
  draw();
}

function onState(which) {
  byId('connection').dataset.state = which;
  byId('connection').textContent = t(which);
  // What happened meanwhile was not heard.
  if (which === 'open') start().catch(() => {});
}

async function start() {
  try {
    const found = await (await get('/api/state')).json();
    state.key ||= found.detectors[0]?.key ?? '';
    if (state.key) await select(state.key);
    else take(found);
    return true;
  } catch (error) {
    if (error.status !== 401) throw error;
    byId('login').showModal();
    return false;
  }
}

function listenToLogin() {
  const dialog = byId('login');
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  dialog.querySelector('form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const problem = dialog.querySelector('.problem');
    try {
      await post('/api/login', { name: form.get('name'), password: form.get('password') });
      dialog.close();
      connection.open();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  });
  byId('logout').addEventListener('click', async () => {
    await post('/api/logout', {});
    location.reload();
  });
}

function listenToKeys() {
  const markNewest = (word) => {
    const newest = state.verdicts.at(-1);
    if (newest) teach.mark(state.key, newest, word, byId('mark-note'));
  };
  byId('fine').addEventListener('click', () => markNewest('fine'));
  byId('bad').addEventListener('click', () => markNewest('bad'));
  document.addEventListener('keydown', ({ key, target }) => {
    if (target.closest('input, select, dialog') || document.body.dataset.role !== 'operator') return;
    if (key === 'g' || key === 'G') markNewest('fine');
    if (key === 'b' || key === 'B') markNewest('bad');
  });
  byId('begin-shift').addEventListener('click', () => post('/api/shift', { detector: state.key }));
}

function listenToLanguage() {
  const select = byId('language');
  select.replaceChildren(...Object.entries(LANGUAGES).map(([value, name]) => element('option', { value }, name)));
  select.value = language;
  select.addEventListener('change', async () => {
    localStorage.setItem('language', select.value);
    await choose(select.value);
    tabs();
    draw();
  });
}

await choose(localStorage.getItem('language') ?? navigator.language.slice(0, 2));
byId('connection').textContent = t('waiting');
for (const part of [live, threshold, history]) part.listen();
for (const part of [category, teach, newPart]) part.listen(() => state.key);
listenToLogin();
listenToKeys();
listenToLanguage();
if (await start()) connection.open();
