// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// The page's texts: i18n/<language>.json; English stands in for what another one lacks.

export const LANGUAGES = { en: 'English', de: 'Deutsch', ja: '日本語' };
let texts = {};
let fallback = {};
export let language = 'en';

async function read(name) {
  return (await fetch(`i18n/${name}.json`)).json();
}

export async function choose(wanted) {
  language = wanted in LANGUAGES ? wanted : 'en';
  fallback = await read('en');
  texts = language === 'en' ? fallback : await read(language);
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll('[data-label]')) element.ariaLabel = t(element.dataset.label);
  for (const element of document.querySelectorAll('[data-alt]')) element.alt = t(element.dataset.alt);
}

export function t(key, values = {}) {
  const text = texts[key] ?? fallback[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  return new Intl.NumberFormat(language, { maximumSignificantDigits: digits }).format(value);
}

// What a chart shows, for who cannot see it: how many scores, from where to where, and which a threshold rejects.
export function summary(verdicts, threshold) {
  const scores = verdicts.filter((one) => !one.error).map((one) => one.score);
  if (!scores.length) return t('whatIfNone');
  const [low, high] = [Math.min(...scores), Math.max(...scores)].map((one) => number(one));
  const over = scores.filter((one) => one >= threshold).length;
  return t('chartShows', { count: scores.length, low, high, over });
}

// How many good parts score so high, from a p-value.
export function rarity(value) {
  if (value == null) return '–';
  return value > 0.1 ? percent(value) : t('oneIn', { count: number(1 / value, 3) });
}

export function percent(value) {
  return new Intl.NumberFormat(language, { style: 'percent', maximumFractionDigits: 1 }).format(value);
}

// A stamp of an image, in nanoseconds as text; sources without a clock have plain numbers.
export function time(stamp) {
  const milliseconds = Number(BigInt(stamp) / 1000000n);
  if (milliseconds < 1e11) return `#${stamp}`;
  return new Intl.DateTimeFormat(language, { dateStyle: 'short', timeStyle: 'medium' }).format(milliseconds);
}
