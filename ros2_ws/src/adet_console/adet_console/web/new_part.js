// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// A new part: collect images of good ones, then let the robot learn them.
import { post } from './api.js';
import { byId } from './dom.js';
import { number, t } from './i18n.js';
import { drawOn } from './region.js';
import { speaker } from './say.js';

const FEWEST = 20;
const ENOUGH = 50;
const say = speaker('say-collected');
let state = null;
let endDrawing = null;

export function showCollected(event) {
  state = event.action === 'end' ? { ...event, ended: true } : event;
  const collects = !state.ended;
  byId('collect').textContent = t(collects ? 'stopCollecting' : 'collect');
  byId('keep-one').disabled = !collects;
  byId('remove-last').disabled = !collects || !state.last;
  byId('draw-region').disabled = !state.size[0];
  byId('learn').disabled = state.count < FEWEST;
  byId('part-name').disabled = byId('keep-every').disabled = collects;
  tell(state.problem || [t('collectedCount', state), hint()].join(' '));
}

function tell(text) {
  byId('collected').textContent = text;
  say(text);
}

function hint() {
  if (state.count < FEWEST) return t('tooFew', { fewest: FEWEST });
  const promise = t('promise', { share: `${number(100 * state.false_rejects, 2)} %` });
  return state.count < ENOUGH ? `${promise} ${t('moreAreBetter', { enough: ENOUGH })}` : promise;
}

// Draws on the live image until it is pressed again.
function toggleDrawing() {
  if (endDrawing) {
    endDrawing();
    endDrawing = null;
  } else {
    endDrawing = drawOn(document.querySelector('#live .stage'), () => state.size, (text) => {
      byId('roi').value = text;
    });
  }
  byId('draw-region').setAttribute('aria-pressed', String(Boolean(endDrawing)));
}

export function listen(detector) {
  const complain = (error) => tell(error.message);
  const collect = (body) => post('/api/collect', { detector: detector(), ...body }).catch(complain);
  byId('collect').addEventListener('click', () => {
    if (state && !state.ended) return collect({ action: 'end' });
    const every = Number(byId('keep-every').value);
    return collect({ action: 'begin', category: byId('part-name').value.trim(), every });
  });
  byId('draw-region').addEventListener('click', toggleDrawing);
  byId('keep-one').addEventListener('click', () => collect({ action: 'one' }));
  byId('remove-last').addEventListener('click', () => collect({ action: 'remove' }));
  byId('learn').addEventListener('click', async () => {
    byId('retrain-stage').textContent = '';
    try {
      if (!state.ended) await post('/api/collect', { detector: detector(), action: 'end' });
      await post('/api/learn', { detector: detector(), category: state.category, roi: byId('roi').value.trim() });
      if (endDrawing) toggleDrawing();
    } catch (error) {
      complain(error);
    }
  });
}
