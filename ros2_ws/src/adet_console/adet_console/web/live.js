// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// The newest image with its heat map, verdict, score and figures.
import { byId, kind, list, show } from './dom.js';
import { number, rarity, t } from './i18n.js';
import { speaker } from './say.js';

const say = speaker('say-verdict');

export function showFrame(frame) {
  show(byId('plain'), frame.plain);
  show(byId('overlay'), frame.overlay);
  byId('no-image').hidden = true;
}

export function clearFrame() {
  for (const id of ['plain', 'overlay']) byId(id).removeAttribute('src');
  byId('no-image').hidden = false;
}

export function showVerdict(verdict, node) {
  const which = verdict ? kind(verdict) : 'none';
  byId('live').dataset.verdict = which;
  byId('verdict').textContent = verdict ? t(which) : '';
  say(byId('verdict').textContent);
  const gauge = byId('gauge');
  gauge.querySelector('.score').style.width = `${100 * (verdict?.normalised_score ?? 0)}%`;
  if (!verdict) {
    list(byId('figures'), []);
    return;
  }
  gauge.setAttribute('aria-label', `${t('score')} ${number(verdict.score)}, ${t('threshold')} ${number(verdict.threshold)}`);
  const values = node?.values ?? {};
  list(byId('figures'), [
    ...(verdict.category ? [[t('part'), verdict.category]] : []),
    [t('score'), number(verdict.score)],
    [t('threshold'), number(verdict.threshold)],
    [t('goodParts'), rarity(verdict.p_value)],
    [t('latency'), `${number(verdict.inference_ms, 3)} ms`],
    [t('rate'), number(Number(values.rate_hz), 3)],
    [t('dropped'), values.dropped ?? '–'],
    [t('bundle'), verdict.bundle_id],
    [t('backend'), values.backend ?? '–'],
  ]);
}

export function listen() {
  byId('opacity').addEventListener('input', ({ target }) => {
    byId('overlay').style.opacity = target.value / 100;
  });
}
