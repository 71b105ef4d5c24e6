// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// What a screen reader says by itself: only what changed, and not more often than anybody can listen to.
import { byId } from './dom.js';

const PAUSE_MS = 3000;

// A function that lets a hidden live region say a text: the first one at once, then the newest after each pause.
export function speaker(id) {
  let said = '';
  let wanted = '';
  let timer = null;
  const say = () => {
    timer = null;
    if (wanted === said) return;
    said = wanted;
    byId(id).textContent = said;
    timer = setTimeout(say, PAUSE_MS);
  };
  return (text) => {
    wanted = text;
    if (timer === null) say();
  };
}
