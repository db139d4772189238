// Reads the blocks of data that block.go writes, and says how they are laid out: base64 of gzip of JSON, or of a drawing.

/**
 * @typedef {object} Drawing
 * @property {any[]} decoded the fields of packets, for fieldsOf
 * @property {Record<string, number[]>} columns
 */

/**
 * A packet, as package picture has it.
 * @typedef {object} Packet
 * @property {number} index
 * @property {number} frame
 * @property {number} at in nanoseconds
 * @property {number} place
 * @property {number} connection -1 if it has none
 * @property {number} server 1 if the server sent it
 * @property {number} flags
 * @property {number} seq
 * @property {number} ack
 * @property {number} length
 * @property {number} window
 * @property {number} marks
 * @property {number} cause -1 if it is no retransmission
 * @property {number} inFlight
 * @property {number} rtt
 * @property {number} ecn
 * @property {number} fate
 * @property {number} rule
 * @property {number} sent index of the same packet at its sender, or -1
 * @property {number} leftOut
 * @property {number} dsack
 * @property {number} begins whether the ladder has an arrow that begins with it: NEVER, HERE (where its place is looked at), ALWAYS
 * @property {boolean} plain there is nothing to look at
 * @property {number} timer whose end had it sent: an index into the names, 0 for none
 * @property {Array<[number, number]>} sack
 */

/** TCP's control bits. */
const FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16;
const flagNames = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'AE'];

/** What became of a packet. */
const UNKNOWN = 0, ARRIVED = 1, LOST = 2, DROPPED = 3;

/** Which packets an arrow begins with; PLAIN is a bit beside it. See Begins of package picture. */
const NEVER = 0, HERE = 1, ALWAYS = 2, PLAIN = 4;

/**
 * @param {string} base64
 * @returns {Promise<Uint8Array>}
 */
async function unpack(base64) {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {Uint8Array} bytes */
function parseJSON(bytes) { return JSON.parse(new TextDecoder().decode(bytes)); }

/**
 * What a bundle has of a scenario. Members of its record are in a member of their own.
 * @param {Record<string, any[]>} bundle
 * @param {number} place
 */
function scenarioIn(bundle, place) {
  /** @type {Record<string, any>} */
  const content = {};
  for (const [name, list] of Object.entries(bundle)) {
    const value = list[place];
    if (value === null || value === undefined) continue;
    if (!name.startsWith('record.')) content[name] = value;
    else (content.record ||= {})[name.slice('record.'.length)] = value;
  }
  return content;
}

/**
 * @param {string[]} packets the names of packets' columns
 * @param {any} content what its bundle has of the scenario
 * @returns {string[]} the names of its drawing's columns
 */
function columnNames(packets, content) {
  return [...packets, ...content.series.flatMap((/** @type {any} */ s) => [s.column + '.times', s.column + '.values'])];
}

/**
 * @param {Uint8Array} bytes
 * @param {string[]} names of its columns
 * @returns {Drawing}
 */
function parseDrawing(bytes, names) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const { counts, decoded } = parseJSON(bytes.subarray(4, 4 + length));
  if (counts.length !== names.length) throw new Error(`a drawing has ${counts.length} columns, not ${names.length}`);
  /** @type {Record<string, number[]>} */
  const columns = {};
  let at = 4 + length;
  names.forEach((name, column) => {
    const values = new Array(counts[column]);
    let last = 0;
    for (let i = 0; i < values.length; i++) {
      let value = 0, factor = 1, byte;
      do {
        if (at >= bytes.length) throw new Error('a block of data is cut off');
        byte = bytes[at++];
        value += (byte & 127) * factor;
        factor *= 128;
      } while (byte & 128);
      last += value % 2 ? -(value + 1) / 2 : value / 2; // zigzag
      values[i] = last;
    }
    columns[name] = values;
  });
  return { decoded, columns };
}

/** A drawing of nothing. @param {string[]} names @returns {Drawing} */
function noDrawing(names) { return { decoded: [], columns: Object.fromEntries(names.map((n) => [n, []])) }; }

/**
 * Undoes what addPackets of scenario.go does.
 * @param {Record<string, number[]>} columns
 * @returns {Packet[]}
 */
function packetsOf(columns) {
  const c = (/** @type {string} */ name) => columns['packet.' + name];
  /** @type {Packet[]} */
  const packets = [];
  /** @type {Map<string, {next: number, ack: number, window: number}>} */
  const lanes = new Map();
  let sack = 0;
  for (let i = 0; i < c('frame').length; i++) {
    const key = `${c('connection')[i]} ${c('place')[i]} ${c('server')[i]}`;
    const lane = lanes.get(key) || { next: 0, ack: 0, window: 0 };
    const sent = c('sent')[i];
    /** @type {Packet} */
    const p = {
      index: i, frame: c('frame')[i], at: c('at')[i], place: c('place')[i], connection: c('connection')[i], server: c('server')[i],
      flags: c('flags')[i], seq: c('seq')[i] + lane.next, ack: c('ack')[i] + lane.ack, length: c('length')[i],
      window: c('window')[i] + lane.window, marks: c('marks')[i], cause: c('cause')[i], inFlight: c('inFlight')[i], rtt: c('rtt')[i],
      ecn: c('ecn')[i], fate: c('fate')[i], rule: c('rule')[i], sent: sent === 0 ? -1 : sent > 0 ? i - sent + 1 : i - sent - 1,
      leftOut: c('leftOut')[i], dsack: c('dsack')[i], begins: c('begins')[i] & ~PLAIN, plain: Boolean(c('begins')[i] & PLAIN), timer: c('timer')[i], sack: [],
    };
    for (let n = c('sacks')[i]; n > 0; n--, sack++) p.sack.push([columns['sack.left'][sack], columns['sack.right'][sack]]);
    lanes.set(key, { next: nextSeq(p) % 2 ** 32, ack: p.ack, window: p.window });
    packets.push(p);
  }
  return packets;
}

/** @param {Packet} p the sequence number behind it */
function nextSeq(p) { return p.seq + p.length + (p.flags & SYN ? 1 : 0) + (p.flags & FIN ? 1 : 0); }

/**
 * The fields of packets, by their indices; see decoded.go.
 * @param {any[][]} shapes
 * @param {any[]} decoded
 * @returns {Map<number, Array<{name: string, source: string, offset: number, length: string, wrong: string, fields: Array<{name: string, bit: number, bits: number, value: string, meaning: string}>}>>}
 */
function fieldsOf(shapes, decoded) {
  const all = new Map();
  /** @type {Map<number, string[]>} */
  const before = new Map();
  for (const { p, s, v } of decoded) {
    const shape = shapes[s];
    const count = shape.reduce((/** @type {number} */ n, /** @type {any} */ h) => n + 2 + 2 * (h.fields || []).length, 0);
    const old = before.get(s) || [];
    const values = Array.from({ length: count }, (_, i) => v?.[i] ?? old[i] ?? '');
    before.set(s, values);
    let at = 0;
    all.set(p, shape.map((/** @type {any} */ h) => {
      const length = values[at++], wrong = values[at++];
      const fields = (h.fields || []).map((/** @type {any} */ f) => ({ ...f, value: values[at++], meaning: values[at++] }));
      return { name: h.name, source: h.source || '', offset: h.offset, length, wrong, fields };
    }));
  }
  return all;
}
