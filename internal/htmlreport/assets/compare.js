// Two scenarios on one axis, and what is different of them: of two kernels, seeds, runs, or congestion controls.

/**
 * @typedef {object} Difference
 * @property {string} name
 * @property {string} [host] of a counter
 * @property {string} [unit]
 * @property {number} [a] absent if A does not have it
 * @property {number} [b]
 */

/** The metrics of a record by name; of several of one name the later ones get a number. @param {Metric[]} metrics */
function metricsByName(metrics) {
  /** @type {Map<string, Metric>} */
  const all = new Map();
  for (const m of metrics) {
    let name = m.name;
    for (let n = 2; all.has(name); n++) name = `${m.name} (${n})`;
    all.set(name, m);
  }
  return all;
}

/**
 * Metrics that differ, in their order.
 * @param {Metric[]} a
 * @param {Metric[]} b
 * @returns {Difference[]}
 */
function metricDifferences(a, b) {
  const mine = metricsByName(a), theirs = metricsByName(b);
  /** @type {Difference[]} */
  const found = [];
  for (const name of new Set([...mine.keys(), ...theirs.keys()])) {
    const x = mine.get(name), y = theirs.get(name);
    if (x && y && x.value === y.value && x.unit === y.unit) continue;
    found.push({ name, unit: (x || y)?.unit, a: x?.value, b: y?.value });
  }
  return found;
}

/**
 * Counters of TCP that differ, the relatively largest difference first. One that a host does not have is 0.
 * @param {Array<{host: string, diff: Record<string, number>}>} a
 * @param {Array<{host: string, diff: Record<string, number>}>} b
 * @returns {Difference[]}
 */
function counterDifferences(a, b) {
  /** @type {Difference[]} */
  const found = [];
  for (const host of new Set([...a, ...b].map((c) => c.host))) {
    const mine = a.find((c) => c.host === host)?.diff || {}, theirs = b.find((c) => c.host === host)?.diff || {};
    for (const name of new Set([...Object.keys(mine), ...Object.keys(theirs)])) {
      const x = Number(mine[name] ?? 0), y = Number(theirs[name] ?? 0);
      if (x !== y && name.startsWith('Tcp')) found.push({ name, host, a: x, b: y });
    }
  }
  const weight = (/** @type {Difference} */ d) => Math.abs(Number(d.b) - Number(d.a)) / Math.max(Math.abs(Number(d.a)), Math.abs(Number(d.b)));
  return found.sort((x, y) => weight(y) - weight(x) || (x.name < y.name ? -1 : 1));
}

/** By how much B is more than A. @param {Difference} d */
function change(d) {
  if (d.a === undefined || d.b === undefined) return '';
  if (d.a === 0) return '';
  const share = 100 * (d.b - d.a) / Math.abs(d.a);
  return `${share > 0 ? '+' : ''}${digits(Number(share.toPrecision(2)))} %`;
}

/** Whether both have it, with much the same value: as package results has it for tcplab compare. @param {Difference} d */
function isSlight(d) { return d.a !== undefined && d.b !== undefined && Math.abs(d.b - d.a) < 0.01 * Math.abs(d.a); }

/** @param {Difference} d @param {number | undefined} value */
function valueText(d, value) { return value === undefined ? '–' : quantity(value, d.unit); }

/** What a reader calls an entry beside another: in what they differ. @param {any} overview @param {Entry} e @param {Entry} other */
function nameBeside(overview, e, other) {
  const origin = overview.origins[e.origin] ? originText(overview.origins[e.origin]) : '';
  const parts = [];
  if (e.suite !== other.suite) parts.push(e.suite);
  if (e.scenario !== other.scenario || e.suite !== other.suite) parts.push(e.scenario);
  if (e.origin !== other.origin || !parts.length) parts.push(origin);
  return parts.join(', ');
}

/**
 * With which others a scenario can be compared: itself on other kernels and seeds first, then others of its suite; of captures all.
 * @param {Entry[]} entries
 * @param {Entry} e
 */
function comparable(entries, e) {
  const same = (/** @type {Entry} */ x) => x.suite === e.suite && x.scenario === e.scenario;
  return entries.map((x, i) => ({ x, i })).filter(({ x }) => x !== e && x.suite === e.suite)
    .sort((a, b) => Number(same(b.x)) - Number(same(a.x)) || a.i - b.i).slice(0, 300);
}

/**
 * @param {any} overview
 * @param {Entry} e
 * @param {State} s
 */
function compareChooser(overview, e, s) {
  const list = comparable(overview.entries, e);
  if (!list.length) return null;
  const select = h('select', { id: 'with', onchange: (/** @type {Event} */ event) => setState({ with: /** @type {HTMLSelectElement} */ (event.target).value, p: '', z: '' }) },
    h('option', { value: '' }, t('nobody')), list.map(({ x, i }) => h('option', { value: i, selected: s.with === String(i) }, text80(nameBeside(overview, x, e)))));
  return h('p', { class: 'controls' }, h('label', {}, t('compareWith'), ' ', select));
}

/** @param {string} text */
function text80(text) { return text.length > 80 ? text.slice(0, 79) + '…' : text; }

/** Series that are compared, each in a plot of its own. */
const comparedSeries = ['sent', 'retransmitted', 'cwnd', 'ssthresh', 'in flight', 'in flight (capture)', 'RTT', 'srtt', 'goodput', 'pacing rate', 'delivery rate', "BBR's bandwidth", 'pacing gain', 'queue'];

/**
 * The series of one scenario, with times since its connection began.
 * @param {any} scenario
 * @param {{connection: number, place: number, server: number}} view
 */
function seriesSinceBeginning(scenario, view) {
  const first = scenario.content.connections[view.connection]?.first_ns ?? 0;
  const all = seriesOf(scenario, view);
  const data = scenario.packets.filter((/** @type {Packet} */ p) => p.connection === view.connection && p.place === view.place && p.server === view.server && p.length > 0);
  const of = scenario.content.places[view.place]?.name ?? '';
  /** @type {number[]} */
  const highest = [];
  data.forEach((/** @type {Packet} */ p, /** @type {number} */ i) => highest.push(Math.max(nextSeq(p), highest[i - 1] ?? 0)));
  if (data.length) all.unshift({ name: 'sent', unit: 'bytes', of, times: data.map((/** @type {Packet} */ p) => p.at), values: highest });
  const again = data.filter((/** @type {Packet} */ p) => p.cause >= 0);
  if (again.length) all.push({ name: 'retransmitted', unit: 'bytes', of, points: true, times: again.map((/** @type {Packet} */ p) => p.at), values: again.map((/** @type {Packet} */ p) => p.seq) });
  return all.map((/** @type {any} */ s) => ({ ...s, times: s.times.map((/** @type {number} */ at) => at - first) }));
}

/**
 * @param {any} overview
 * @param {[Entry, Entry]} entries
 * @param {[any, any]} scenarios
 * @param {State} s
 */
function comparePage(overview, entries, scenarios, s) {
  const names = [nameBeside(overview, entries[0], entries[1]), nameBeside(overview, entries[1], entries[0])];
  const label = (/** @type {number} */ i) => h('strong', { class: 'side' + i }, i ? 'B' : 'A');
  const sides = h('table', { class: 'sides' }, h('tbody', {}, entries.map((e, i) => h('tr', {}, h('th', { scope: 'row' }, label(i)),
    h('td', {}, h('a', { href: formatState({ ...s, s: String(overview.entries.indexOf(e)), with: '', z: '', p: '' }) }, names[i])), h('td', {}, e.verdict && h('span', { class: 'verdict ' + e.verdict }, verdictText(e.verdict)))))));
  const records = scenarios.map((x) => x.content.record);
  const main = h('main', {}, h('p', { class: 'back' }, h('a', { href: formatState({ ...s, s: '', with: '', z: '', p: '' }) }, '← ' + t('back'))),
    h('h1', {}, t('compared'), entries[0].scenario === entries[1].scenario ? `: ${entries[0].suite ? entries[0].suite + ': ' : ''}${entries[0].scenario}` : ''), sides, compareChooser(overview, entries[0], s));
  if (records[0] && records[1]) main.append(...differences(records, entries));
  const over = h('section', { class: 'strips' }, h('h2', {}, t('onOneAxis')), h('p', { class: 'help' }, t('sinceBeginning')));
  main.append(over);
  const mounted = () => {
    const views = scenarios.map((x) => hasPackets(x) ? viewOf(x, s) : noView);
    const series = scenarios.map((x, i) => seriesSinceBeginning(x, views[i]));
    const lengths = scenarios.map((x, i) => {
      const k = x.content.connections[views[i].connection];
      return k ? k.last_ns - k.first_ns : x.content.end_ns;
    });
    const [from, to] = (s.z || '').split('-').map(Number);
    const axis = new TimeAxis(0, Math.max(...lengths, 1e6), (a, b) => setState({ z: `${Math.round(a)}-${Math.round(b)}` }, true));
    const nothing = { content: { bands: [], steps: [] } };
    let drawn = 0;
    for (const name of comparedSeries) {
      const unit = series.flat().find((x) => x.name === name && x.times.length)?.unit;
      const some = series.flatMap((list, i) => list.filter((/** @type {any} */ x) => x.name === name && x.unit === unit && x.times.length).map((/** @type {any} */ x) => ({ ...x, side: i, of: (i ? 'B' : 'A') + (x.of ? `, ${x.of}` : '') })));
      if (!some.length) continue;
      const figure = strip({ key: 'plots', title: seriesName(name), step: !['RTT', 'srtt'].includes(name) }, some, axis, { connection: 0, server: 0 }, nothing);
      over.append(figure.element);
      figure.mount();
      drawn++;
    }
    if (!drawn) over.append(h('p', { class: 'note' }, t('nothingToDraw')));
    if (to > from) axis.zoom(from, to);
  };
  return { main, mounted };
}

/** @param {any[]} records @param {[Entry, Entry]} entries */
function differences(records, entries) {
  const metrics = metricDifferences([...records[0].metrics, ...records[0].checks], [...records[1].metrics, ...records[1].checks]), counted = counterDifferences(records[0].counters, records[1].counters);
  const row = (/** @type {Difference} */ d) => [d.host ? `${d.name} (${d.host})` : d.name, valueText(d, d.a), valueText(d, d.b), change(d)];
  const head = [t('figures'), 'A', 'B', t('changed')];
  return [h('section', { class: 'differences' }, h('h2', {}, t('differences')),
    entries[0].verdict !== entries[1].verdict ? h('p', { class: 'failed' }, `${t('verdict')}: ${verdictText(entries[0].verdict)} → ${verdictText(entries[1].verdict)}`) : null,
    metrics.length ? table(head, metrics.map(row)) : h('p', {}, t('sameMetrics')),
    counted.length ? h('details', {}, h('summary', {}, `${t('counters')} (${counted.length})`), table([t('counter'), 'A', 'B', t('changed')], counted.map(row))) : h('p', {}, t('sameCounters')))];
}
