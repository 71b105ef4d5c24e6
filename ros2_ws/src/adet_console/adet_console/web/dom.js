// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// Small helpers around the document. Texts are always set as text, never as HTML.

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made && key !== 'list') made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function list(parent, pairs) {
  parent.replaceChildren(
    ...pairs.map(([term, value]) => element('div', {}, element('dt', {}, term), element('dd', {}, String(value)))),
  );
}

export function kind(verdict) {
  if (verdict.error) return 'error';
  if (verdict.is_anomalous) return 'anomalous';
  return verdict.is_uncertain ? 'uncertain' : 'normal';
}

// Shows a blob in an image, and frees the one before.
export function show(image, blob) {
  const before = image.src;
  image.src = URL.createObjectURL(blob);
  if (before.startsWith('blob:')) URL.revokeObjectURL(before);
}
