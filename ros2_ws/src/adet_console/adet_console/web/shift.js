// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// Counters of the shift, and the health of every node.
import { byId, element, list } from './dom.js';
import { language, percent, t } from './i18n.js';

export function showCounters(counters, since) {
  const rows = [
    [t('inspected'), counters.inspected],
    [t('rejected'), counters.rejected],
    [t('toCheck'), counters.uncertain],
    [t('refused'), counters.refused],
  ];
  if (counters.reject_interval) {
    const [low, high] = counters.reject_interval.map(percent);
    rows.push([t('rejectRate'), `${percent(counters.reject_rate)}, ${t('interval', { low, high })}`]);
  }
  if (since) {
    const time = new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'short' }).format(since * 1000);
    rows.push([t('since'), time]);
  }
  list(byId('counters'), rows);
}

export function showNodes(nodes) {
  byId('nodes').replaceChildren(
    ...nodes.map(({ name, level, message }) =>
      element('li', { 'data-level': level }, element('b', { 'aria-hidden': 'true' }, '●'), element('span', { className: 'sr' }, `${t(`level_${level}`)}: `), element('span', {}, `${name}: ${message}`)),
    ),
  );
}
