// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// Marks of the operator, retraining with its progress and figures, and rollback.
import { post } from './api.js';
import { byId, element } from './dom.js';
import { number, t } from './i18n.js';
import { speaker } from './say.js';

const say = speaker('say-retraining');
let running = false;

function tell(text) {
  byId('retrain-stage').textContent = text;
  say(text);
}

export async function mark(detector, verdict, word, note) {
  try {
    const { message } = await post('/api/mark', { detector, stamp: verdict.stamp, verdict: word });
    note.textContent = message;
  } catch (error) {
    note.textContent = error.message;
  }
}

// Where the detector warns of drift, what to do about it.
export function showDrift(node, verdicts) {
  const fine = verdicts.filter((one) => one.mark === 'fine').length;
  byId('changed').hidden = !node?.message.includes('drift: ');
  byId('changed').textContent = t('changed', { fine });
}

export function showMarks(verdicts) {
  const count = (word) => verdicts.filter((one) => one.mark === word).length;
  byId('marked').textContent = t('marked', { fine: count('fine'), bad: count('bad') });
}

export function showRetraining(event) {
  running = event.stage !== 'done';
  byId('retrain').disabled = running;
  byId('rollback').disabled = running;
  byId('cancel').hidden = !running;
  const bar = byId('retrain-progress');
  bar.hidden = !running;
  bar.value = event.progress;
  if (running) {
    tell([event.stage, event.detail].filter(Boolean).join(': '));
    return;
  }
  tell(t(event.success ? 'done' : 'refusedSet', { message: event.detail }));
  if (event.before) figures(event.before, event.after);
}

function figures(before, after) {
  const table = byId('retrain-figures');
  // A new part was inspected by nothing before.
  const was = (read) => (before.normals ? read(before) : '–');
  const rows = [
    ['threshold', (one) => number(one.threshold)],
    ['normals', (one) => one.normals],
    ['ofThemRejected', (one) => one.rejected],
    ['markedImages', (one) => one.marked],
    ['ofThemRejected', (one) => one.marked_rejected],
    ['testNormals', (one) => one.test_normals],
    ['ofThemRejected', (one) => one.test_rejected],
    ['knownDefects', (one) => one.anomalies],
    ['ofThemRejected', (one) => one.caught],
    ...after.made_up.flatMap(({ strength }, index) => [
      [`made_up_${strength}`, (one) => one.made_up[index].images],
      ['ofThemRejected', (one) => one.made_up[index].caught],
    ]),
    ['auroc', (one) => number(one.image_auroc)],
  ];
  table.tHead.replaceChildren(element('tr', {}, ...['', t('before'), t('after')].map((text) => element('th', {}, text))));
  table.tBodies[0].replaceChildren(
    ...rows.map(([key, read]) =>
      element('tr', {}, element('th', { scope: 'row' }, t(key)), element('td', {}, String(was(read))), element('td', {}, String(read(after)))),
    ),
  );
  table.hidden = false;
}

export function listen(detector) {
  const act = (path, body) => async () => {
    try {
      byId('retrain-stage').textContent = '';
      await post(path, { detector: detector(), ...body });
    } catch (error) {
      tell(error.message);
    }
  };
  byId('retrain').addEventListener('click', act('/api/retrain', { mode: 'incremental' }));
  byId('rollback').addEventListener('click', act('/api/retrain', { mode: 'rollback' }));
  byId('cancel').addEventListener('click', act('/api/cancel', {}));
}
