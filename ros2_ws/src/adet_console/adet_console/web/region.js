// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// A rectangle drawn on the live image, in pixels of the camera.
import { byId } from './dom.js';

// Where the image lies in its box, which it fills in one direction only. Its own size is not asked for: between two
// images of the camera it may be none.
function shown(image, [columns, rows]) {
  const box = image.getBoundingClientRect();
  const scale = Math.min(box.width / columns, box.height / rows);
  const [width, height] = [columns * scale, rows * scale];
  return { x: box.x + (box.width - width) / 2, y: box.y + (box.height - height) / 2, width, height };
}

// size(): width and height of the camera's image. onChange(text): "x,y,width,height", while it is drawn.
export function drawOn(stage, size, onChange) {
  const image = byId('plain');
  const region = byId('region');
  let from = null;
  const at = (event, box) => ['x', 'y'].map((axis, index) => {
    const length = index ? box.height : box.width;
    return Math.min(Math.max((axis === 'x' ? event.clientX : event.clientY) - box[axis], 0), length) / length;
  });
  const draw = (event) => {
    const [columns, rows] = size();
    const box = shown(image, [columns, rows]);
    const to = at(event, box);
    const [left, top] = [0, 1].map((axis) => Math.min(from[axis], to[axis]));
    const [wide, tall] = [0, 1].map((axis) => Math.abs(from[axis] - to[axis]));
    const outer = stage.getBoundingClientRect();
    Object.assign(region.style, {
      left: `${box.x - outer.x + left * box.width}px`,
      top: `${box.y - outer.y + top * box.height}px`,
      width: `${wide * box.width}px`,
      height: `${tall * box.height}px`,
    });
    region.hidden = false;
    const [x, y] = [Math.round(left * columns), Math.round(top * rows)];
    const [width, height] = [Math.round(wide * columns), Math.round(tall * rows)];
    onChange(width && height ? [x, y, Math.min(width, columns - x), Math.min(height, rows - y)].join(',') : '');
  };
  const listeners = {
    pointerdown: (event) => {
      event.preventDefault();
      stage.setPointerCapture(event.pointerId);
      from = at(event, shown(image, size()));
    },
    pointermove: (event) => from && draw(event),
    pointerup: () => {
      from = null;
    },
  };
  stage.classList.add('drawing');
  stage.scrollIntoView({ block: 'center' });
  for (const [name, listener] of Object.entries(listeners)) stage.addEventListener(name, listener);
  return () => {
    stage.classList.remove('drawing');
    region.hidden = true;
    for (const [name, listener] of Object.entries(listeners)) stage.removeEventListener(name, listener);
  };
}
