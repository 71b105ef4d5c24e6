// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// What a detector that knows several categories inspects for, and choosing another one.
import { post } from './api.js';
import { byId, element } from './dom.js';

// The diagnostics tell of a change up to a second later.
const LATE_MS = 3000;
let asked = '';
let timer = null;

function wish(category) {
  asked = category;
  clearTimeout(timer);
  timer = setTimeout(() => { asked = ''; }, LATE_MS);
}

export function showCategory(key, node) {
  const { category, categories } = node?.values ?? {};
  const names = categories?.split(', ') ?? [];
  byId('categories').hidden = names.length < 2;
  const select = byId('category');
  if (select.dataset.shown !== `${key} ${categories}`) {
    select.dataset.shown = `${key} ${categories}`;
    select.replaceChildren(...names.map((name) => element('option', {}, name)));
    byId('category-note').textContent = '';
    asked = '';
  }
  select.value = asked || category;
}

export function listen(detector) {
  byId('category').addEventListener('change', async ({ target }) => {
    wish(target.value);
    byId('category-note').textContent = '';
    try {
      await post('/api/category', { detector: detector(), value: target.value });
    } catch (error) {
      asked = '';
      byId('category-note').textContent = error.message;
    }
  });
}
