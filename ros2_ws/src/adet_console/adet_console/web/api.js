// SPDX-FileCopyrightText: 2026 The adet authors
// SPDX-License-Identifier: Apache-2.0
// Requests to the console's server, and the one WebSocket that stays open.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function get(path) {
  const response = await fetch(path, { credentials: 'same-origin' });
  if (!response.ok) throw new Refused(response.status, await reason(response));
  return response;
}

export async function post(path, body) {
  const response = await fetch(path, {
    method: 'POST',
    credentials: 'same-origin',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Refused(response.status, await reason(response));
  return response.json();
}

async function reason(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text;
  }
}

// Two JPEG images in one message; see adet_console.frames.pack.
export function unpack(buffer) {
  const view = new DataView(buffer);
  const length = view.getUint32(8);
  const jpeg = (from, to) => new Blob([buffer.slice(from, to)], { type: 'image/jpeg' });
  return { stamp: view.getBigUint64(0).toString(), plain: jpeg(12, 12 + length), overlay: jpeg(12 + length) };
}

export class Live {
  // onEvent(event), onFrame(frame), onState('open' | 'lost')
  constructor({ onEvent, onFrame, onState }) {
    Object.assign(this, { onEvent, onFrame, onState, wish: null, wait: 500 });
  }

  open() {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    this.socket = new WebSocket(`${scheme}//${location.host}/api/live`);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => {
      this.wait = 500;
      this.onState('open');
      this.send();
    };
    this.socket.onmessage = ({ data }) => {
      if (typeof data === 'string') this.onEvent(JSON.parse(data));
      else this.onFrame(unpack(data));
    };
    this.socket.onclose = () => {
      this.onState('lost');
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(this.wait * 2, 8000);
    };
  }

  watch(detector, width) {
    this.wish = JSON.stringify({ detector, width });
    this.send();
  }

  send() {
    if (this.wish && this.socket?.readyState === WebSocket.OPEN) this.socket.send(this.wish);
  }
}
