// Unit tests of the scripts in ../assets, by node's runner: node --test. They are classic scripts, which one context runs as the page does.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';

const names = ['codec', 'words', 'findings', 'state', 'dom', 'figures', 'overview', 'sweep', 'sequence', 'plots', 'ladder', 'packet', 'scenario', 'compare'];
const wanted = 'beginning, findingWords, findingText, setLanguage: (l) => { currentLanguage = l; }, scenarioIn, columnNames, parseDrawing, packetsOf, fieldsOf, unpack, nextSeq, words, t, parseState, formatState, duration, digits, quantity, expected, barOf, filterEntries, sequenceOf,'
  + ' tcpStates, statesAt, whyNoPackets, nearestMark, sweepView, boxOf, distributionOf, ticksTo, dimensionText, metricDifferences, counterDifferences, change, isSlight, comparable, arrowsOf, notesOf, foldArrows, layOut, neighbours, shellWord, flagText';
const context = createContext({ URLSearchParams, TextDecoder, TextEncoder, DecompressionStream, Blob, Response, atob, Uint8Array, DataView, console });
const source = names.map((n) => readFileSync(new URL(`../assets/${n}.js`, import.meta.url), 'utf8')).join('\n');
const page = runInContext(`${source}\n;({ ${wanted} })`, context);
const plain = (value) => JSON.parse(JSON.stringify(value)); // of this realm

function varint(n) {
  let v = n < 0 ? -n * 2 - 1 : n * 2;
  const out = [];
  do { out.push(v % 128 + (v >= 128 ? 128 : 0)); v = Math.floor(v / 128); } while (v > 0);
  return out;
}

function drawing(decoded, columns) {
  const numbers = [];
  const counts = [];
  for (const values of Object.values(columns)) {
    counts.push(values.length);
    let last = 0;
    for (const v of values) { numbers.push(...varint(v - last)); last = v; }
  }
  const text = new TextEncoder().encode(JSON.stringify({ counts, decoded }));
  const bytes = new Uint8Array(4 + text.length + numbers.length);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  bytes.set(numbers, 4 + text.length);
  return bytes;
}

test('columns are what was written, also numbers beyond 32 bits', () => {
  const values = [0, -1, 1, 2 ** 31, -(2 ** 40), 2 ** 52, 0, 127, 128, -64, -65];
  const read = page.parseDrawing(drawing([1], { x: values, empty: [], y: [5] }), ['x', 'empty', 'y']);
  assert.deepEqual(plain(read.columns), { x: values, empty: [], y: [5] });
  assert.deepEqual(plain(read.decoded), [1]);
});

test('a drawing that is cut off, or has other columns, is an error', () => {
  const bytes = drawing([], { x: [1e6, 2e6] });
  assert.throws(() => page.parseDrawing(bytes.subarray(0, bytes.length - 1), ['x']), /cut off/);
  assert.throws(() => page.parseDrawing(bytes, ['x', 'y']), /1 columns, not 2/);
});

test('a bundle has lists of members, of which each scenario has its own', () => {
  const bundle = { 'record.suite': ['a', 'b'], 'record.failure': [null, { message: 'x' }], steps: [[], [1]], source: [null, 0], 'record.host': [{ wall: 1 }, null] };
  assert.deepEqual(plain(page.scenarioIn(bundle, 0)), { record: { suite: 'a', host: { wall: 1 } }, steps: [] });
  assert.deepEqual(plain(page.scenarioIn(bundle, 1)), { record: { suite: 'b', failure: { message: 'x' } }, steps: [1], source: 0 });
  assert.deepEqual(plain(page.scenarioIn({ folder: ['x'] }, 0)), { folder: 'x' });
  assert.deepEqual(plain(page.columnNames(['packet.at'], { series: [{ column: 'series0' }, { column: 'series1' }] })), ['packet.at', 'series0.times', 'series0.values', 'series1.times', 'series1.values']);
});

test('a block is unpacked', async () => {
  const bytes = await page.unpack(gzipSync(Buffer.from('hello')).toString('base64'));
  assert.equal(Buffer.from(bytes).toString(), 'hello');
});

/** Columns of packets, with 0 where nothing is said. */
function packets(rows) {
  const columns = {};
  const fields = ['frame', 'at', 'place', 'connection', 'server', 'flags', 'seq', 'ack', 'length', 'window', 'marks', 'cause', 'inFlight', 'rtt', 'ecn', 'fate', 'rule', 'sent', 'leftOut', 'dsack', 'sacks', 'begins', 'timer'];
  for (const f of fields) columns['packet.' + f] = rows.map((r, i) => r[f] ?? ({ frame: i + 1, at: i * 1000, cause: -1, rule: -1, begins: r.sent ? 0 : 2 }[f] ?? 0));
  columns['sack.left'] = rows.flatMap((r) => (r.sack || []).map((b) => b[0]));
  columns['sack.right'] = rows.flatMap((r) => (r.sack || []).map((b) => b[1]));
  return page.packetsOf(columns);
}

const SYN = 2, ACK = 16, RST = 4;

test('sequence numbers are differences to what is expected in a direction', () => {
  const p = packets([{ flags: SYN }, { flags: SYN | ACK, server: 1, ack: 1 }, { flags: ACK, length: 100, ack: 1 }, { flags: ACK, length: 50 }, { flags: ACK, seq: -150, length: 100, cause: 3 },
    { flags: ACK, server: 1, ack: 150, sacks: 1, sack: [[1, 101]], dsack: 1 }, { place: 1, length: 7, seq: 11 }]);
  assert.deepEqual(plain(p.map((x) => x.seq)), [0, 0, 1, 101, 1, 1, 11]);
  assert.deepEqual(plain(p.map((x) => x.ack)), [0, 1, 1, 1, 1, 151, 0]);
  assert.deepEqual(plain(p[5].sack), [[1, 101]]);
});

test('what was sent is an index, backwards or forwards', () => {
  const p = packets([{ sent: 0 }, { sent: 2 }, { sent: -2 }, {}]);
  assert.deepEqual(plain(p.map((x) => x.sent)), [-1, 0, 3, -1]);
});

test('fields are those of the packet before, but where they differ', () => {
  const fields = page.fieldsOf([[{ name: 'TCP', offset: 0, fields: [{ name: 'a', bit: 0, bits: 4 }, { name: 'b', bit: 4, bits: 4 }] }]],
    [{ p: 3, s: 0, v: ['20', '', '1', 'one', '2', ''] }, { p: 9, s: 0, v: [null, null, '5'] }]);
  const [header] = plain(fields.get(9));
  assert.deepEqual(header.fields.map((f) => [f.name, f.value, f.meaning]), [['a', '5', 'one'], ['b', '2', '']]);
  assert.equal(header.length, '20');
});

test('of a message the overview has the first lines, and says that there are more', () => {
  assert.equal(page.beginning('Expected\n 0\nto equal\n 5\n'), 'Expected\n 0\nto equal\n 5');
  assert.equal(page.beginning('a\nb\nc\nd\ne'), 'a\nb\nc\nd\n…');
});

test('the state is in the hash, and comes back from it', () => {
  const state = { s: '3', q: 'a&b=c #x', lang: 'zh', empty: '' };
  assert.deepEqual(plain(page.parseState(page.formatState(state))), { s: '3', q: 'a&b=c #x', lang: 'zh' });
});

test('both languages have the same words', () => {
  assert.deepEqual(Object.keys(page.words.zh).sort(), Object.keys(page.words.en).sort());
  for (const [key, text] of Object.entries(page.words.en)) {
    const places = (s) => (s.match(/\{\d\}/g) || []).sort().join();
    assert.equal(places(page.words.zh[key]), places(text), key);
  }
});

test('every kind of finding of package analysis has a title and its meaning in both languages, and no other is there', () => {
  const source = readFileSync(new URL('../../../harness/analysis/finding.go', import.meta.url), 'utf8');
  const kinds = [...source.matchAll(/FindingKind = "([a-z-]+)"/g)].map((m) => m[1]);
  assert.ok(kinds.length > 20);
  assert.deepEqual(Object.keys(page.findingWords).sort(), [...kinds].sort());
  for (const [kind, words] of Object.entries(page.findingWords)) {
    assert.ok(words.en.length > 5, kind);
    for (const part of ['title', 'seen', 'cause', 'next']) {
      assert.match(words.zh[part], /\p{Script=Han}/u, `${kind}: ${part}`);
      for (const [, place] of words.zh[part].matchAll(/\{(\w+)\}/g)) assert.ok(['host', 'other', 'count', 'percent', 'closed', 'stalled'].includes(place), `${kind}: {${place}}`);
    }
  }
});

test("a finding's numbers are in its text, in both languages", () => {
  const f = { kind: 'lossy-link', host: '10.0.0.1:5', count: 2, seen: 'seen', cause: 'cause', next: 'next' };
  const connection = { client: '10.0.0.1:5', server: '10.0.0.2:80' }, view = { client: { data_segments: 14, stalled_ns: 3e8 }, server: {} };
  assert.deepEqual(plain(page.findingText(f, connection, view)), { title: 'Segments were lost', seen: 'seen', cause: 'cause', next: 'next', original: true });
  page.setLanguage('zh');
  assert.equal(page.findingText(f, connection, view).seen, '客户端重传了 2 个段，占带数据段的 14.29 %；等待超时共 300 ms。');
  assert.equal(page.findingText(f, connection, { client: { data_segments: 14 } }).seen, '客户端重传了 2 个段，占带数据段的 14.29 %。');
  assert.equal(page.findingText({ ...f, kind: 'closed-window', host: connection.server }, connection, { ...view, server: { window_closed_ns: 2e9 } }).seen, '服务器的接收窗口总共关闭了 2 s（2 帧）。');
  assert.equal(page.findingText({ ...f, kind: 'new-kind' }, connection, view).title, 'new-kind');
  page.setLanguage('en');
});

test('every word that a script asks for is there, and every one is asked for', () => {
  const all = [...names, 'plots', 'scenario', 'main'].map((n) => readFileSync(new URL(`../assets/${n}.js`, import.meta.url), 'utf8')).join('\n');
  const asked = new Set([...all.matchAll(/\bt\('([a-zA-Z]+)'/g)].map((m) => m[1]));
  for (const key of asked) assert.ok(key in page.words.en, key);
  for (const key of Object.keys(page.words.en)) assert.ok(asked.has(key) || all.includes(`'${key}'`), `${key} is not used`);
});

test('numbers are short, and times have units', () => {
  assert.equal(page.duration(224_300_000), '224.3 ms');
  assert.equal(page.duration(1.5e9), '1.5 s');
  assert.equal(page.duration(999), '999 ns');
  assert.equal(page.duration(131_200_000_000), '2 min 11 s');
  assert.equal(page.duration(3_661e9), '1 h 1 min 1 s');
  assert.equal(page.quantity(18.39, 'Mbit/s'), '18.39 Mbit/s');
  assert.equal(page.quantity(0.2243, 's'), '224.3 ms');
  assert.equal(page.quantity(2.5e6, 'bit/s'), '2.5 Mbit/s');
  assert.equal(page.digits(123456.7), '123,457');
});

test('a bar has the value where it is between its bounds', () => {
  const bar = (value, lower, upper) => page.barOf({ name: 'x', value, bounds: { lower, upper, margin: 0, share: 0 } });
  assert.equal(bar(5, 0, 10).position, 0.5);
  assert.equal(bar(0, 0, 10).position, 0.2);
  assert.ok(bar(10, 0, 10).inside && Math.abs(bar(10, 0, 10).position - 0.8) < 1e-9);
  assert.ok(!bar(11, 0, 10).inside && bar(11, 0, 10).position > 0.8);
  assert.ok(bar(7, 7, 7).inside);
  assert.ok(!bar(8, 7, 7).inside);
  assert.ok(bar(3, 1, undefined).inside && !bar(0.5, 1, undefined).inside);
  assert.equal(page.barOf({ name: 'x', value: 1 }), null);
});

test('filters go together', () => {
  const entries = [{ suite: 'a', scenario: 'drops a SYN', verdict: 'passed', labels: ['quick'], origin: 0 }, { suite: 'b', scenario: 'waits', verdict: 'failed', labels: [], origin: 1, failure: 'SYN' }];
  const origins = [{ kernel: '6.1' }, { kernel: '6.12' }];
  const found = (s) => plain(page.filterEntries(entries, s, origins).map((e) => e.suite));
  assert.deepEqual(found({}), ['a', 'b']);
  assert.deepEqual(found({ q: 'syn' }), ['a', 'b']);
  assert.deepEqual(found({ q: 'syn drops' }), ['a']);
  assert.deepEqual(found({ verdict: 'failed' }), ['b']);
  assert.deepEqual(found({ label: 'quick', kernel: '6.12' }), []);
});

test('the time-sequence plot has a packet where it was sent, and where it died', () => {
  const p = packets([{ flags: SYN, fate: 1 }, { flags: SYN | ACK, server: 1, ack: 1, window: 1000 }, { flags: ACK, length: 100, ack: 1, fate: 3, rule: 0 }, { place: 1, flags: ACK, seq: 1, length: 100, sent: 2, fate: 3, rule: 0 },
    { flags: ACK, seq: -100, length: 100, cause: 3, fate: 2 }, { server: 1, flags: ACK, ack: 100, window: -1000, sacks: 1, sack: [[200, 300]] }, { connection: 1, length: 1 }]);
  const marks = page.sequenceOf(p, { connection: 0, place: 0, server: 0, dropped: [false, true] });
  const of = (kind) => plain(marks.filter((m) => m.kind === kind).map((m) => [m.packet.frame, m.from, m.to]));
  assert.deepEqual(of('segment'), [[1, 0, 1], [3, 1, 101], [5, 1, 101]]);
  assert.deepEqual(of('dropped'), [[4, 51, 51]]);
  assert.deepEqual(of('lost'), [[5, 51, 51]]);
  assert.deepEqual(of('ack'), [[2, 1, 1], [6, 101, 101]]);
  assert.deepEqual(of('edge'), [[2, 1001, 1001], [6, 101, 101]]);
  assert.deepEqual(of('sack'), [[6, 200, 300]]);
  assert.deepEqual(of('zero'), [[6, 101, 101]]);
});

test('the nearest mark is found, and a death before the segment it is on', () => {
  const marks = [{ kind: 'segment', time: 10, from: 0, to: 10 }, { kind: 'dropped', time: 10, from: 5, to: 5 }, { kind: 'ack', time: 100, from: 0, to: 0 }];
  const place = (m) => ({ x: m.time, top: m.from, bottom: m.to });
  assert.equal(page.nearestMark(marks, place, 11, 5, 14).kind, 'dropped');
  assert.equal(page.nearestMark(marks, place, 12, 0, 14).kind, 'segment');
  assert.equal(page.nearestMark(marks, place, 50, 5, 14), null);
});

const view = { connection: 0, path: [0, 1, 2], places: [{ host: 0 }, { host: 2 }, { host: 1, dropped: true }], place: 0 };

test('the ladder has an arrow for each packet, with both of its ends', () => {
  const arrows = page.arrowsOf(packets([{ flags: SYN, fate: 1 }, { place: 1, flags: SYN, sent: 2 }, { flags: ACK, length: 9, fate: 3 }, { place: 2, flags: ACK, sent: 2, rule: 0, fate: 3 }, { flags: ACK, fate: 2 },
    { place: 1, server: 1, flags: ACK | RST, fate: 1 }, { server: 1, flags: ACK | RST, sent: 2 }]), { ...view, place: 0 });
  const first = plain(arrows.map((a) => [a.seen.map((s) => s.column), a.death, a.deathColumn]));
  assert.deepEqual(first.slice(0, 3), [[[0, 2], '', -1], [[0], 'dropped', 1], [[0], 'lost', -1]]);
});

test('what was seen at one place only is an arrow where that is looked at', () => {
  const p = packets([{ begins: 1 }, { place: 1, begins: 1 }, { place: 1, server: 1, begins: 2 }]);
  const frames = (place) => plain(page.arrowsOf(p, { connection: 0, path: [], places: [{ host: -1 }, { host: -1 }], place }).map((a) => [a.packet.frame, a.seen[0].column]));
  assert.deepEqual(frames(0), [[1, 0], [3, 1]]);
  assert.deepEqual(frames(1), [[2, 0], [3, 1]]);
});

test('states and timers stand beside the lifelines, in the order of their times', () => {
  const p = packets([{ flags: SYN, fate: 1, begins: 2 }, { flags: SYN, cause: 0, timer: 1, fate: 1 }, { place: 1, server: 1, flags: SYN | ACK, fate: 1 }]);
  const scenario = { packets: p, names: { timers: ['', 'RTO'] }, content: { connections: [{ path: [0, 1, 2] }], bands: [{ Name: 'state', State: 'SYN-SENT', Connection: 0, From: 10 },
    { Name: 'state', State: 'LISTEN', Connection: 1, From: 5 }, { Name: 'congestion', Value: 'Open', Connection: 0, From: 0 }, { Name: 'state', State: 'SYN-RECEIVED', Connection: 0, FromServer: true, From: 2500, Inferred: true }] } };
  const arrows = page.arrowsOf(p, view), notes = page.notesOf(scenario, 0, arrows);
  assert.deepEqual(plain(notes.map((n) => [n.at, n.column, n.text, n.kind])), [[10, 0, 'SYN-SENT', 'state'], [1000, 0, 'RTO timer fired', 'timer'], [2500, 2, 'SYN-RECEIVED', 'state']]);
  const lay = page.layOut(page.foldArrows(arrows, new Set(), -1), notes);
  assert.equal(lay.notes.length, 3);
  assert.ok(lay.notes[1].y < lay.yOfRow.get(1), 'a timer is above what it has sent');
});

test('long runs of plain packets are folded, but not what one looks for', () => {
  const all = page.arrowsOf(packets(Array.from({ length: 40 }, (_, i) => ({ flags: ACK, length: 1, cause: i === 30 ? 3 : -1, begins: i === 30 ? 2 : 2 | 4, fate: 1 }))), view);
  const rows = page.foldArrows(all, new Set(), -1);
  assert.equal(rows.reduce((n, r) => n + (r.kind === 'fold' ? r.arrows.length : 1), 0), 40);
  const folds = rows.filter((r) => r.kind === 'fold');
  assert.equal(folds.length, 1);
  assert.equal(page.foldArrows(all, new Set([folds[0].key]), -1).length, 40);
  assert.equal(page.foldArrows(all, new Set(), 10).length, 40);
});

test('times on the ladder are in order', () => {
  const rows = page.foldArrows(page.arrowsOf(packets([{ fate: 1, at: 0 }, { fate: 1, at: 5 }, { place: 1, at: 900, sent: 2 }, { fate: 1, at: 1e9 }]), view), new Set(), -1);
  const lay = page.layOut(rows);
  const times = [...lay.yOfTime].sort((a, b) => a[0] - b[0]).map(([, y]) => y);
  assert.deepEqual(times, [...times].sort((a, b) => a - b));
  assert.equal(lay.silences.length, 1);
});

test('a retransmission leads to what was sent before, and back', () => {
  const p = packets([{ flags: ACK, length: 10 }, { flags: ACK, length: 10 }, { flags: ACK, seq: -20, length: 10, cause: 1 }]);
  assert.deepEqual(plain(page.neighbours(p, p[2]).before.map((q) => q.frame)), [1]);
  assert.deepEqual(plain(page.neighbours(p, p[0]).again.map((q) => q.frame)), [3]);
  assert.equal(page.neighbours(p, p[1]).previous.frame, 1);
});

const sweep = { kernel: '6.1', seeds: ['1', '2'], failed: [], dimensions: ['loss', 'flows', 'rtt_ns'], points: ['cubic', 'bbr'].flatMap((flows) => [0, 0.01].flatMap((loss) => [2e7, 8e7].map((rtt) => ({ name: `${flows} ${loss} ${rtt}`,
  dimensions: { flows, loss, rtt_ns: rtt }, figures: { goodput: { values: [1, 3], median: 2, low: 1, high: 3, confidence: 0.5 } }, scenarios: [] })))) };

test('of a sweep a metric is seen over one dimension, by another, and at a value of each other', () => {
  let view = page.sweepView(sweep, {});
  assert.deepEqual([view.metric, view.across, view.by, plain(view.fixed), plain(view.xs), plain(view.lines), view.points.length], ['goodput', 'loss', 'flows', { rtt_ns: 2e7 }, [0, 0.01], ['bbr', 'cubic'], 4]);
  view = page.sweepView(sweep, { x: 'rtt_ns', by: 'loss', 'f-flows': '1', m: 'nothing' });
  assert.deepEqual([view.metric, view.across, view.by, plain(view.fixed), view.points.length], ['goodput', 'rtt_ns', 'loss', { flows: 'cubic' }, 4]);
  assert.equal(page.dimensionText('loss', 0.01), '1 %');
  assert.equal(page.dimensionText('rate_bit_per_s', 2e7), '20 Mbit/s');
  assert.equal(page.dimensionText('buffer', 0), '1 BDP');
});

test('a box has the quartiles, and a distribution ends at 1', () => {
  assert.deepEqual(plain(page.boxOf([5, 1, 3, 2, 4])), { least: 1, lower: 2, median: 3, upper: 4, most: 5 });
  assert.deepEqual(plain(page.boxOf([7])), { least: 7, lower: 7, median: 7, upper: 7, most: 7 });
  assert.deepEqual(plain(page.distributionOf([3, 1])), [[1, 0.5], [3, 1]]);
  assert.deepEqual(plain(page.ticksTo(9.6, 1.4)), [0, 2, 4, 6, 8, 10]);
  for (const high of [0.003, 1, 9.6, 10, 123]) {
    const ticks = page.ticksTo(high);
    assert.ok(ticks[ticks.length - 1] >= high && ticks[ticks.length - 2] < high && ticks.length <= 8, `${high}: ${ticks}`);
  }
});

test('what differs is listed, the largest first', () => {
  const metrics = (list) => list.map(([name, value, unit]) => ({ name, value, unit }));
  assert.deepEqual(plain(page.metricDifferences(metrics([['rtt', 2, 's'], ['same', 1], ['twice', 1], ['twice', 5], ['gone', 3]]), metrics([['rtt', 3, 's'], ['same', 1], ['twice', 1], ['twice', 4], ['new', 7]]))), [
    { name: 'rtt', unit: 's', a: 2, b: 3 }, { name: 'twice (2)', a: 5, b: 4 }, { name: 'gone', a: 3 }, { name: 'new', b: 7 }]);
  const found = page.counterDifferences([{ host: 'client', diff: { TcpOutSegs: 10, TcpRetransSegs: 2, IpOut: 3 } }], [{ host: 'client', diff: { TcpOutSegs: 11, IpOut: 4 } }, { host: 'server', diff: { TcpInSegs: 1 } }]);
  assert.deepEqual(plain(found.map((d) => [d.host, d.name, d.a, d.b])), [['server', 'TcpInSegs', 0, 1], ['client', 'TcpRetransSegs', 2, 0], ['client', 'TcpOutSegs', 10, 11]]);
  assert.equal(page.change({ name: 'x', a: 2, b: 3 }), '+50 %');
  assert.equal(page.change({ name: 'x', a: 4, b: 3 }), '-25 %');
  assert.equal(page.change({ name: 'x', b: 3 }), '');
  assert.deepEqual([page.isSlight({ a: 100, b: 100.9 }), page.isSlight({ a: 100, b: 101 }), page.isSlight({ a: 0, b: 1 }), page.isSlight({ b: 1 })], [true, false, false, false]);
});

test('a scenario is compared with itself elsewhere first, then with others of its suite', () => {
  const e = (suite, scenario, origin) => ({ suite, scenario, origin });
  const entries = [e('a', 'x', 0), e('a', 'y', 0), e('b', 'x', 0), e('a', 'x', 1)];
  assert.deepEqual(plain(page.comparable(entries, entries[0]).map(({ i }) => i)), [3, 1]);
});

test('a word of a shell', () => {
  assert.equal(page.shellWord('a/b.pcapng'), 'a/b.pcapng');
  assert.equal(page.shellWord("it's $(x)"), "'it'\\''s $(x)'");
});

test('why nothing is drawn: nobody captured, the file cannot be read, it has no TCP, or the page has no room', () => {
  const { words: { en }, whyNoPackets } = page;
  page.setLanguage('en');
  assert.equal(whyNoPackets({ record: { captures: [] }, captures: [] }), en.noCapture);
  assert.equal(whyNoPackets({ record: { captures: [{}, {}] }, captures: [{}] }), en.notRead);
  assert.equal(whyNoPackets({ record: { captures: [{}] }, captures: [{}] }), en.noTCP);
  assert.equal(whyNoPackets({ captures: [{}] }), en.noTCP); // somebody else's
  assert.equal(whyNoPackets({ record: { captures: [{}] }, captures: [{}], packets_total: 7 }), page.t('leftOut', 7));
});

test('the states of one connection, in order, and what is read aloud of a time', () => {
  page.setLanguage('en');
  const band = (State, FromServer, From, To, Connection = 0) => ({ Name: 'state', State, FromServer, From, To, Connection });
  const bands = [band('ESTABLISHED', false, 20, 90), band('SYN-SENT', false, 0, 20), band('SYN-RECEIVED', true, 10, 30), band('CLOSED', true, 5, 9, 1),
    { Name: 'congestion', Value: 'Loss', FromServer: false, From: 0, To: 90, Connection: 0 }];
  const states = page.tcpStates({ content: { bands } }, 0);
  assert.deepEqual(plain(states).map((x) => [x.side, x.state]), [[0, 'SYN-SENT'], [1, 'SYN-RECEIVED'], [0, 'ESTABLISHED']]);
  assert.deepEqual([-1, 0, 10, 20].map((at) => page.statesAt(states, at)),
    ['', 'client: SYN-SENT', 'client: SYN-SENT, server: SYN-RECEIVED', 'client: ESTABLISHED, server: SYN-RECEIVED']);
});
