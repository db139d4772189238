// A scenario, or a capture: its claim, its pictures, and all the evidence.

/**
 * @param {any} overview
 * @param {Entry} entry
 * @param {any} scenario the block, unpacked: content, columns, packets, fields, names
 * @param {State} s
 */
function scenarioPage(overview, entry, scenario, s) {
  const { content } = scenario;
  const record = content.record;
  const main = h('main', {}, overview.entries.length > 1 || overview.kind !== 'captures' ? h('p', { class: 'back' }, h('a', { href: formatState({ ...s, s: '', c: '', d: '', v: '', p: '', z: '', unfold: '', with: '' }) }, '← ' + t('back'))) : null,
    h('h1', {}, entry.suite && h('span', { class: 'suite' }, entry.suite + ': '), entry.scenario),
    h('p', { class: 'meta' }, entry.verdict && h('span', { class: 'verdict ' + entry.verdict }, verdictText(entry.verdict)), ' ',
      overview.origins[entry.origin] ? originText(overview.origins[entry.origin]) + ' · ' : '', `${t(overview.kind === 'captures' ? 'lasts' : 'virtual')} ${duration(entry.duration_ns)}`,
      entry.wall_ns ? ` · ${t('wall')} ${duration(entry.wall_ns)}` : '', entry.cached ? ` · ${t('cached')}` : '', (entry.labels || []).map((l) => h('span', { class: 'label' }, l))),
    compareChooser(overview, entry, s),
    entry.failure && h('section', {}, h('h2', {}, record?.failure ? t('failure') : t('reason')), h('pre', { class: 'failure' }, record?.failure?.message || entry.failure, record?.failure?.location ? '\n' + record.failure.location : '')));
  if (record) {
    main.append(h('section', { class: 'figures' }, h('h2', {}, t('checksTitle')), record.metrics.map(metricRow),
      record.checks.length ? h('details', {}, h('summary', {}, t('checksAll', record.checks.length)), record.checks.map(metricRow)) : null,
      entry.command ? h('details', { class: 'again' }, h('summary', {}, t('reproduce')), commandLine(entry.command)) : null));
  }
  const mounted = pictures(scenario, s, main);
  if (record) main.append(...recordSections(content, record));
  if (content.notes?.length) main.append(h('section', {}, h('h2', {}, t('noteNotDrawn')), h('ul', {}, content.notes.map((/** @type {string} */ n) => h('li', {}, n)))));
  return { main, mounted };
}

/**
 * The connection, place and direction that are looked at.
 * @param {any} scenario
 * @param {State} s
 */
function viewOf(scenario, s) {
  const list = scenario.content.connections;
  const c = Math.min(Math.max(0, Number(s.c ?? sickest(list)) || 0), list.length - 1);
  const views = list[c].views;
  const view = views[Math.min(Math.max(0, Number(s.v) || 0), views.length - 1)];
  return { connection: c, place: view.place, server: s.d === undefined ? busierSide(list[c]) : Number(s.d) ? 1 : 0, view };
}

/** @param {any} connection */
function findingsOf(connection) { return connection.views.flatMap((/** @type {any} */ v) => v.findings || []); }

/** The connection with the most findings, or the first. @param {any[]} list */
function sickest(list) {
  let best = 0;
  list.forEach((c, i) => { if (findingsOf(c).length > findingsOf(list[best]).length) best = i; });
  return best;
}

/** @param {any} scenario */
function hasPackets(scenario) { return scenario.content.connections.length > 0 && scenario.packets.length > 0; }

/** Why there are none to draw: they were left out, nobody captured, the file cannot be read, or what it has is not TCP. @param {any} content */
function whyNoPackets(content) {
  if (content.packets_total) return t('leftOut', content.packets_total);
  const recorded = content.record?.captures.length;
  if (recorded === 0) return t('noCapture');
  return content.captures.length < (recorded || 1) ? t('notRead') : t('noTCP');
}

/** What is looked at where there are no packets: what is of no one connection, such as queues. */
const noView = { connection: -1, place: -1, server: 0 };

/**
 * @param {any} scenario
 * @param {State} s
 * @param {HTMLElement} main
 */
function withoutPackets(scenario, s, main) {
  const [from, to] = (s.z || '').split('-').map(Number);
  const axis = new TimeAxis(0, Math.max(scenario.content.end_ns, 1e6), (a, b) => setState({ z: `${Math.round(a)}-${Math.round(b)}` }, true));
  const figures = strips(scenario, noView, axis);
  if (!figures.length) return () => {};
  const over = h('section', { class: 'strips' }, h('h2', {}, t('plots')));
  main.append(over);
  return () => {
    figures.forEach((f) => { over.append(f.element); f.mount(); });
    if (to > from) axis.zoom(from, to);
  };
}

/**
 * @param {any} scenario
 * @param {State} s
 * @param {HTMLElement} main
 */
function pictures(scenario, s, main) {
  const { content } = scenario;
  const list = content.connections;
  if (!hasPackets(scenario)) {
    main.append(h('p', { class: 'note' }, whyNoPackets(content)));
    return withoutPackets(scenario, s, main);
  }
  const view = viewOf(scenario, s);
  const connection = list[view.connection];
  const open = (/** @type {Packet} */ p) => setState({ p: p.index });
  const [from, to] = (s.z || '').split('-').map(Number);
  const axis = new TimeAxis(connection.first_ns, connection.last_ns, (a, b) => setState({ z: `${Math.round(a)}-${Math.round(b)}` }, true));
  if (list.length > 1) main.append(connectionList(scenario, view.connection));
  const select = (/** @type {string} */ key, /** @type {string[]} */ names, /** @type {number} */ chosen) => h('label', {}, t(key === 'v' ? 'seenAt' : 'direction'), ' ',
    h('select', { name: key, onchange: (/** @type {Event} */ e) => setState({ [key]: /** @type {HTMLSelectElement} */ (e.target).value, p: '' }) }, names.map((n, i) => h('option', { value: i, selected: i === chosen }, n))));
  const sequence = h('section', { class: 'sequence-section' }, h('h2', {}, t('sequence'), `: ${connection.client} → ${connection.server}`),
    h('form', { class: 'filters', onsubmit: (/** @type {Event} */ e) => e.preventDefault() },
      connection.views.length > 1 ? select('v', connection.views.map((/** @type {any} */ v) => content.places[v.place].name || t('captures')), connection.views.indexOf(view.view)) : null,
      select('d', [t('client'), t('server')], view.server)),
    h('p', { class: 'help' }, t('sequenceHelp')));
  if (scenario.packets.length < content.packets_total) sequence.append(h('p', { class: 'note' }, t('thinned', scenario.packets.length, content.packets_total)));
  const over = h('section', { class: 'strips' }, h('h2', {}, t('plots')));
  const ladderSection = h('section', {}, h('h2', {}, t('ladder')), ladder(scenario, view, open));
  const found = h('section', {}, h('h2', {}, t('findings')), findings(scenario, view));
  main.append(found, sequence, over, steps(content), ladderSection);
  return () => {
    const plot = sequencePlot(scenario, view, axis, open);
    sequence.append(plot.element);
    plot.plot.setSize({ width: Math.max(280, plot.element.clientWidth), height: plot.plot.height });
    const band = stateBand(scenario, view, axis), figures = [...(band ? [band] : []), ...strips(scenario, view, axis)];
    figures.forEach((f) => { over.append(f.element); f.mount(); });
    if (!figures.length) over.remove();
    if (to > from) axis.zoom(from, to);
  };
}

/** @param {any} content */
function steps(content) {
  if (!content.steps?.length && !content.bands?.length) return h('div', {});
  return h('section', {},
    content.steps?.length ? h('details', {}, h('summary', {}, `${t('dashed')} (${content.steps.length})`), table([t('time'), t('end'), t('change')], content.steps.map((/** @type {any} */ x) => [moment(x.At), x.End, x.Text]))) : null,
    content.bands?.length ? h('details', {}, h('summary', {}, `${t('bands')} (${content.bands.length})`), table([t('time'), '', t('connection'), '', t('value')],
      content.bands.slice(0, 500).map((/** @type {any} */ b) => [`${moment(b.From)} – ${moment(b.To)}`, b.FromServer ? t('server') : t('client'), `#${b.Connection}`, b.Name, (b.State || b.Value) + (b.Inferred ? ` (${t('inferred')})` : '')]))) : null);
}

/** The worst first. @param {any} scenario @param {number} chosen */
function connectionList(scenario, chosen) {
  const list = scenario.content.connections;
  const order = list.map((/** @type {any} */ _, /** @type {number} */ i) => i).sort((/** @type {number} */ a, /** @type {number} */ b) => kinds(list[b]).length - kinds(list[a]).length || list[b].packets - list[a].packets);
  const sum = (/** @type {any} */ side) => Object.values(side.causes || {}).reduce((/** @type {number} */ a, /** @type {any} */ b) => a + b, 0);
  const holder = h('div', {});
  let most = 12, wanted = '';
  const draw = () => {
    const some = order.filter((/** @type {number} */ i) => `${list[i].client} ${list[i].server} ${kinds(list[i]).map((k) => `${k} ${findingTitle(k)}`).join(' ')}`.includes(wanted));
    holder.replaceChildren(table(['#', t('connection'), t('seenAt'), t('bytesSent'), t('retransmissions'), t('finding')], some.slice(0, most).map((/** @type {number} */ i) => {
      const c = list[i], v = c.views[0];
      return [h('a', { href: formatState({ ...state(), c: String(i), v: '', d: '', p: '', z: '', unfold: '' }), 'aria-current': i === chosen ? 'true' : undefined }, `#${v.stream}`), `${c.client} → ${c.server}`,
        c.views.map((/** @type {any} */ x) => scenario.content.places[x.place].name).join(', '), digits(v.client.bytes + v.server.bytes), String(sum(v.client) + sum(v.server)), kinds(c).map(findingTitle).join(', ')];
    })), some.length > most ? h('button', { type: 'button', class: 'more', onclick: () => { most += 200; draw(); } }, t('more', some.length - most)) : '');
  };
  draw();
  return h('section', { class: 'connections' }, h('h2', {}, `${t('connections')} (${list.length})`),
    list.length > 12 ? h('input', { type: 'search', 'aria-label': t('search'), placeholder: t('search'), oninput: (/** @type {Event} */ e) => { wanted = /** @type {HTMLInputElement} */ (e.target).value; draw(); } }) : null, holder);
}

/** @param {any} connection */
function kinds(connection) { return [...new Set(findingsOf(connection).map((/** @type {any} */ f) => f.kind))]; }

/** @param {any} scenario @param {any} view */
function findings(scenario, view) {
  const capture = scenario.content.places[view.place].capture;
  const byFrame = new Map(scenario.packets.filter((/** @type {Packet} */ p) => scenario.content.places[p.place].capture === capture).map((/** @type {Packet} */ p) => [p.frame, p]));
  const all = view.view.findings || [];
  if (!all.length) return h('p', {}, t('noFindings'));
  const connection = scenario.content.connections[view.connection];
  return h('ul', { class: 'findings' }, all.map((/** @type {any} */ f) => {
    const text = findingText(f, connection, view.view);
    return h('li', {}, h('p', {}, h('strong', {}, text.title), ' ', h('code', {}, f.kind), ' ', text.seen),
      h('dl', {}, h('dt', {}, t('likely')), h('dd', {}, text.cause), h('dt', {}, t('lookNext')), h('dd', {}, text.next),
        h('dt', {}, t('frames')), h('dd', {}, (f.frames || []).map((/** @type {number} */ n) => {
          const p = byFrame.get(n);
          return [p ? h('a', { href: formatState({ ...state(), p: String(p.index) }) }, n) : String(n), ' '];
        }), f.count > (f.frames || []).length ? '…' : '')),
      text.original ? null : h('details', {}, h('summary', {}, t('inEnglish')), h('p', { lang: 'en' }, `${f.seen} ${f.cause} ${f.next}`)));
  }));
}

/** @param {any} content @param {any} record */
function recordSections(content, record) {
  const json = (/** @type {any} */ value) => h('pre', {}, JSON.stringify(value, null, 1).replace(/^[{[]\n|\n[}\]]$/g, ''));
  const sysctls = (record.topology?.hosts || []).flatMap((/** @type {any} */ x) => Object.entries(x.sysctls || {}).map(([k, v]) => [x.name, k, v]));
  return [
    sourceSection(content, record),
    record.topology && h('section', {}, h('h2', {}, t('topology')), topology(record), impairments(record), measured(content),
      h('details', {}, h('summary', {}, `${t('sysctls')} (${sysctls.length})`), table([t('host'), t('sysctl'), t('value')], sysctls))),
    record.counters.length && h('section', {}, h('h2', {}, t('counters')), counters(record)),
    record.queues.length && h('section', {}, h('h2', {}, t('queues')), h('details', {}, h('summary', {}, t('table')), table([t('end'), '', ...Object.keys(queueColumns)],
      record.queues.map((/** @type {any} */ q) => [q.end, q.kind, ...Object.values(queueColumns).map((k) => digits(q[k] || 0))])))),
    record.peers.length && h('section', {}, h('h2', {}, t('peers')), record.peers.map((/** @type {any} */ p) => h('details', {}, h('summary', {}, `${p.name} (${p.host}): ${p.program}`, p.error ? h('span', { class: 'failed' }, ' ' + p.error) : ''),
      p.config && json(p.config), p.result && [h('h3', {}, t('result')), json(p.result)]))),
    h('section', {}, h('h2', {}, t('artefacts')), content.folder ? h('p', {}, t('folder'), ' ', h('code', {}, content.folder)) : null,
      h('ul', { class: 'artefacts' }, [...record.artefacts, ...(record.host?.artefacts || [])].map((/** @type {any} */ a) => h('li', {}, h('code', {}, a.path), ` ${bytes(a.size)}`)))),
  ].filter((x) => x instanceof Node);
}

const queueColumns = { bytes: 'bytes', packets: 'packets', drops: 'drops', overlimits: 'overlimits', requeues: 'requeues', backlog: 'backlog' };

/** The spec's lines; those that name a metric have the value that it saw. @param {any} content @param {any} record */
function sourceSection(content, record) {
  const source = content.source;
  if (!source) return h('section', {}, h('h2', {}, t('source')), h('p', {}, t('sourceMissing')));
  const all = [...record.metrics, ...record.checks];
  return h('section', {}, h('h2', {}, t('source')), h('p', {}, h('code', {}, `${source.file}:${source.first}`)),
    h('div', { class: 'source scroll', tabindex: '0', role: 'region', 'aria-label': t('source') }, h('table', {}, h('tbody', {}, source.lines.map((/** @type {string} */ line, /** @type {number} */ i) => {
      const seen = all.filter((m) => line.includes(JSON.stringify(m.name)));
      return h('tr', { class: seen.length ? 'seen' : '' }, h('td', { class: 'line-number' }, source.first + i), h('td', {}, h('code', {}, line.replace(/\t/g, '    '))),
        h('td', { class: 'saw' }, seen.map((m) => h('span', {}, `${t('seen')}: ${quantity(m.value, m.unit)} `))));
    })))));
}

/** @param {any} record */
function topology(record) {
  const hosts = record.topology.hosts, links = record.topology.links;
  const narrow = innerWidth < 700, width = narrow ? 320 : 900, columns = narrow ? 1 : Math.min(4, hosts.length);
  const place = (/** @type {number} */ i) => ({ x: (i % columns + 0.5) * width / columns, y: Math.floor(i / columns) * 90 + 40 });
  const at = new Map(hosts.map((/** @type {any} */ x, /** @type {number} */ i) => [x.name, place(i)]));
  const height = Math.ceil(hosts.length / columns) * 90;
  const picture = svg('svg', { class: 'topology', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': links.map((/** @type {any} */ l) => l.ends.join(' – ')).join(', ') });
  for (const link of links) {
    const [a, b] = link.ends.map((/** @type {string} */ e) => at.get(e.split('/')[0]));
    if (!a || !b) continue;
    const impaired = link.ends.some((/** @type {string} */ e) => record.impairments.some((/** @type {any} */ i) => i.end === e));
    picture.append(svg('line', { class: impaired ? 'link impaired' : 'link', x1: a.x, y1: a.y, x2: b.x, y2: b.y }));
    if (columns > 1) picture.append(svg('text', { class: 'small', x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 - 8, 'text-anchor': 'middle' }, link.ends.map((/** @type {string} */ e) => e.split('/')[1]).join(' – ')));
  }
  hosts.forEach((/** @type {any} */ x) => {
    const p = at.get(x.name);
    picture.append(svg('rect', { class: 'node', x: p.x - 58, y: p.y - 20, width: 116, height: 40, rx: 6 }), svg('text', { x: p.x, y: p.y - 2, 'text-anchor': 'middle' }, x.name),
      svg('text', { class: 'small', x: p.x, y: p.y + 13, 'text-anchor': 'middle' }, (x.addresses[0] || '').replace(/\/\d+$/, '')));
  });
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('topology') }, picture);
}

/** @param {any} record */
function impairments(record) {
  if (!record.impairments.length) return null;
  /** @type {(v: any) => string} */
  const text = (v) => v === undefined ? '' : Object.entries(v).filter(([k]) => k !== 'seed').map(([k, x]) => k.endsWith('_ns') && typeof x === 'number' ? `${k.slice(0, -3)} ${duration(x)}`
    : Array.isArray(x) ? `${k} ${JSON.stringify(x)}` : `${k} ${typeof x === 'object' && x ? `(${text(x)})` : x}`).join(', ');
  return table([t('time'), t('end'), t('asked'), t('applied'), t('notes')], record.impairments.map((/** @type {any} */ i) => [moment(i.at_ns), i.end, text(i.asked), text(i.applied), i.notes.join('; ')]));
}

/** What the impairments came to: of packets that were captured at both ends of a way. @param {any} content */
function measured(content) {
  if (!content.ways.length) return null;
  const name = (/** @type {number} */ place) => content.places[place].name;
  return [h('h3', {}, t('measured')), table([t('way'), t('sentPackets'), t('arrived'), t('dropped'), t('lostShare'), t('onTheWay')],
    content.ways.map((/** @type {any} */ w) => [`${name(w.from)} → ${name(w.to)}`, digits(w.sent), digits(w.arrived), digits(w.dropped), `${digits(w.sent - w.arrived - w.dropped)} (${digits(Number((100 * (w.sent - w.arrived - w.dropped) / w.sent).toPrecision(3)))} %)`,
      `${duration(w.least_ns)} … ${duration(w.median_ns)} … ${duration(w.most_ns)}`]))];
}

/** @param {any} record */
function counters(record) {
  const names = [...new Set(record.counters.flatMap((/** @type {any} */ c) => Object.keys(c.diff)))].sort((a, b) => Number(/^Ip/.test(a)) - Number(/^Ip/.test(b)) || (a < b ? -1 : 1));
  return h('details', { open: true }, h('summary', {}, `${t('counters')} (${names.length})`), table([t('counter'), ...record.counters.map((/** @type {any} */ c) => c.host)],
    names.map((n) => [n, ...record.counters.map((/** @type {any} */ c) => n in c.diff ? digits(c.diff[n]) : '')])));
}
