// What the time-sequence plot draws, in tcptrace's manner: data as its sender sent it, what the receiver acknowledged, and on the same
// axes what the link did to it.

/**
 * @typedef {object} SequenceMark
 * @property {Packet} packet
 * @property {number} time in nanoseconds
 * @property {number} from
 * @property {number} to
 * @property {string} kind segment, ack, edge, sack, dsack, dropped, lost, acted, reset, zero
 */

/**
 * The marks of one direction of a connection, as one place saw it.
 * @param {Packet[]} packets
 * @param {{connection: number, place: number, server: number, dropped: boolean[]}} view dropped says which places have what was never sent
 * @returns {SequenceMark[]}
 */
function sequenceOf(packets, view) {
  /** @type {SequenceMark[]} */
  const marks = [];
  let scaled = false;
  for (const p of packets) {
    if (p.connection !== view.connection) continue;
    const here = p.place === view.place, never = view.dropped[p.place];
    if (!here && !never) continue;
    const add = (/** @type {string} */ kind, /** @type {number} */ from, /** @type {number} */ to) => marks.push({ packet: p, time: p.at, from, to, kind });
    if (p.server === view.server) {
      const next = nextSeq(p), middle = (p.seq + next) / 2;
      if (next > p.seq && (here || p.sent < 0)) add('segment', p.seq, next);
      if (never) add('dropped', middle, middle);
      else if (p.fate === LOST) add('lost', middle, middle);
      else if (p.rule >= 0 && p.fate !== DROPPED) add('acted', middle, middle);
      if (here && p.flags & RST) add('reset', p.seq, p.seq);
    } else {
      if (!(p.flags & ACK)) continue;
      if (never) { add('dropped', p.ack, p.ack); continue; }
      if (p.fate === LOST) add('lost', p.ack, p.ack);
      else if (p.rule >= 0 && p.fate !== DROPPED) add('acted', p.ack, p.ack);
      add('ack', p.ack, p.ack);
      scaled ||= Boolean(p.flags & SYN);
      add('edge', p.ack + p.window, p.ack + p.window);
      p.sack.forEach(([left, right], i) => add(p.dsack && i === 0 ? 'dsack' : 'sack', left, right));
      if (p.flags & RST) add('reset', p.ack, p.ack);
      else if (p.window === 0) add('zero', p.ack, p.ack);
    }
  }
  return marks;
}

/**
 * Which direction a person looks at first: that of more data.
 * @param {any} connection
 */
function busierSide(connection) { return connection.views[0].server.bytes > connection.views[0].client.bytes ? 1 : 0; }

/**
 * The mark that is nearest to a point, within so many pixels; a death before a segment, a segment before an ACK.
 * @param {SequenceMark[]} marks
 * @param {(m: SequenceMark) => {x: number, top: number, bottom: number}} place
 * @param {number} x
 * @param {number} y
 * @param {number} within
 */
function nearestMark(marks, place, x, y, within) {
  const order = ['dropped', 'lost', 'acted', 'reset', 'zero', 'segment', 'sack', 'dsack', 'ack'];
  let best = null, bestScore = within;
  for (const m of marks) {
    const rank = order.indexOf(m.kind);
    if (rank < 0) continue;
    const at = place(m);
    const dy = y < at.top ? at.top - y : y > at.bottom ? y - at.bottom : 0;
    const score = Math.hypot(x - at.x, dy) + rank * 0.3;
    if (score < bestScore) [best, bestScore] = [m, score];
  }
  return best;
}
