// The overview: what came of each scenario, or which conversations a capture has.

/**
 * @typedef {object} Entry
 * @property {string} suite
 * @property {string} scenario
 * @property {string[]} [labels]
 * @property {string} verdict
 * @property {string} [failure]
 * @property {number} origin
 * @property {number} duration_ns
 * @property {number} [wall_ns]
 * @property {boolean} [cached]
 * @property {Metric[]} [metrics]
 * @property {number} [checks]
 * @property {Metric} [worst]
 * @property {string} command
 * @property {number} block
 */

/** @param {any} o */
function originText(o) { return `${o.kernel || '?'}, ${t('seed')} ${o.seed}` + (o.ipv6 ? ', IPv6' : '') + (o.clock === 'real' ? ', real clock' : '') + (o.run ? `, ${t('run')} ${o.run}` : ''); }

/**
 * @param {Entry[]} entries
 * @param {State} s
 * @param {any[]} origins
 * @returns {Entry[]}
 */
function filterEntries(entries, s, origins) {
  const wanted = (s.q || '').toLowerCase().split(/\s+/).filter(Boolean);
  return entries.filter((e) => {
    if (s.suite && e.suite !== s.suite) return false;
    if (s.label && !(e.labels || []).includes(s.label)) return false;
    if (s.verdict && e.verdict !== s.verdict) return false;
    if (s.kernel && origins[e.origin]?.kernel !== s.kernel) return false;
    if (s.run && origins[e.origin]?.run !== s.run) return false;
    const text = `${e.suite} ${e.scenario} ${(e.metrics || []).map((m) => m.name).join(' ')} ${e.failure || ''}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  });
}

/**
 * @param {string} key
 * @param {string[]} values
 * @param {State} s
 */
function chooser(key, values, s) {
  const distinct = [...new Set(values)].filter(Boolean).sort();
  if (distinct.length < 2 && !s[key]) return null;
  const select = h('select', { id: 'filter-' + key, name: key, onchange: (/** @type {Event} */ e) => setState({ [key]: /** @type {HTMLSelectElement} */ (e.target).value }) },
    h('option', { value: '' }, t('all')),
    distinct.map((v) => h('option', { value: v, selected: s[key] === v }, key === 'verdict' ? verdictText(v) : v)));
  return h('label', {}, t(key), ' ', select);
}

/** The first lines of a message: as many as Gomega needs for a value and what it should equal. @param {string} text */
function beginning(text) {
  const lines = text.trimEnd().split('\n');
  return lines.slice(0, 4).join('\n') + (lines.length > 4 ? '\n…' : '');
}

/** How many scenarios are shown before one asks for more. */
const overviewRows = 60;

/**
 * @param {any} overview
 * @param {State} s
 */
function overviewPage(overview, s) {
  /** @type {Entry[]} */
  const entries = overview.entries;
  const captures = overview.kind === 'captures';
  const shown = filterEntries(entries, s, overview.origins);
  const count = (/** @type {(e: Entry) => boolean} */ f) => entries.filter(f).length;
  const hasFailed = (/** @type {Entry} */ e) => !['passed', 'skipped', 'pending', ''].includes(e.verdict);
  const failed = count(hasFailed);
  const tally = h('p', { class: 'tally' },
    h('strong', { class: 'passed' }, `${count((e) => e.verdict === 'passed')} ${t('passed')}`), ' · ',
    h('strong', { class: failed ? 'failed' : '' }, `${failed} ${t('failed')}`), ' · ',
    h('span', {}, `${count((e) => e.verdict === 'skipped' || e.verdict === 'pending')} ${t('skipped')}`),
    overview.missing ? h('strong', { class: 'failed' }, ' · ' + t('missing', overview.missing)) : null,
    overview.focused ? h('strong', { class: 'failed' }, ' · ' + t('focused', overview.focused.join(', '))) : null,
    ' · ', `${t('virtual')} ${duration(entries.reduce((sum, e) => sum + e.duration_ns, 0))}`,
    ' · ', `${t('wall')} ${duration(entries.reduce((sum, e) => sum + (e.wall_ns || 0), 0))}`);
  const search = h('input', { type: 'search', id: 'search', value: s.q || '', 'aria-label': t('search'), placeholder: t('search'),
    oninput: (/** @type {Event} */ e) => { setState({ q: /** @type {HTMLInputElement} */ (e.target).value }, true); list(); } });
  const filters = h('form', { class: 'filters', role: 'search', onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, search,
    chooser('suite', entries.map((e) => e.suite), s), chooser('label', entries.flatMap((e) => e.labels || []), s),
    chooser('verdict', entries.map((e) => e.verdict), s), chooser('kernel', overview.origins.map((/** @type {any} */ o) => o.kernel), s),
    chooser('run', overview.origins.map((/** @type {any} */ o) => o.run), s));
  const holder = h('div', {});
  let most = overviewRows;
  const list = () => {
    const now = filterEntries(entries, state(), overview.origins).sort((a, b) => Number(hasFailed(b)) - Number(hasFailed(a))); // what failed comes first
    const more = now.length > most && h('button', { type: 'button', class: 'more', onclick: () => { most += 1000; list(); } }, t('more', now.length - most));
    holder.replaceChildren(...[
      h('p', { class: 'count', role: 'status' }, t('shown', now.length, entries.length)),
      now.length === 0 && h('p', {}, t('nothing')),
      h('ul', { class: 'entries' }, now.slice(0, most).map((e) => h('li', {}, entryRow(e, entries.indexOf(e), overview)))),
      more,
    ].filter((x) => x instanceof Node));
  };
  list();
  return h('main', {}, h('h1', {}, overview.sweep ? t('sweepOf', overview.sweep.points.length, overview.sweep.seeds.length) : captures ? t('captures') : t('scenarios')), captures || !entries.length ? null : tally,
    overview.sweep ? [sweepSection(overview, s), entries.length ? [h('h2', {}, t('scenarios')), filters, holder] : []].flat() : [captures ? null : filters, overview.origins.length > 1 ? matrix(overview, shown) : null, holder]);
}

/**
 * @param {Entry} e
 * @param {number} index
 * @param {any} overview
 */
function entryRow(e, index, overview) {
  const origin = overview.origins[e.origin];
  return h('article', { class: 'entry ' + (e.verdict || 'capture') },
    h('h2', {}, e.verdict && h('span', { class: 'verdict ' + e.verdict }, verdictText(e.verdict)), ' ',
      h('a', { href: formatState({ ...state(), s: String(index) }) }, e.suite && h('span', { class: 'suite' }, e.suite + ': '), e.scenario)),
    e.failure && h('pre', { class: 'failure' }, beginning(e.failure)),
    (e.metrics || []).map(metricRow),
    e.worst && h('details', {}, h('summary', {}, t('checks', e.checks || 0), ' ', h('span', { class: 'name' }, e.worst.name)), metricRow(e.worst)),
    h('p', { class: 'meta' }, overview.origins.length > 1 && origin ? originText(origin) + ' · ' : '', `${t(overview.kind === 'captures' ? 'lasts' : 'virtual')} ${duration(e.duration_ns)}`,
      e.wall_ns ? ` · ${t('wall')} ${duration(e.wall_ns)}` : '', e.cached ? ` · ${t('cached')}` : '', (e.labels || []).map((l) => h('span', { class: 'label' }, l))),
    e.command && h('details', { class: 'again' }, h('summary', {}, t('reproduce')), commandLine(e.command)));
}

/**
 * The same scenarios on several kernels or seeds: where verdicts or metrics differ comes first.
 * @param {any} overview
 * @param {Entry[]} entries
 */
function matrix(overview, entries) {
  /** @type {Map<string, Entry[]>} */
  const rows = new Map();
  for (const e of entries) {
    const key = e.suite + ': ' + e.scenario;
    const row = rows.get(key) || [];
    row[e.origin] = e;
    rows.set(key, row);
  }
  const all = [...rows].map(([name, row]) => {
    const cells = row.filter(Boolean), other = cells.find((e) => e.verdict !== cells[0].verdict || metricDifferences(cells[0].metrics || [], e.metrics || []).some((d) => !isSlight(d)));
    return { name, row, first: cells[0], second: other ?? cells[1], different: other !== undefined };
  }).sort((a, b) => Number(b.different) - Number(a.different));
  const what = (/** @type {Entry} */ a, /** @type {Entry} */ b) => metricDifferences(a.metrics || [], b.metrics || []).filter((d) => !isSlight(d)).slice(0, 3)
    .map((d) => h('span', { class: 'difference' }, `${d.name}: ${valueText(d, d.a)} → ${valueText(d, d.b)} ${change(d)}`));
  const cell = (/** @type {Entry | undefined} */ e) => e && h('a', { href: formatState({ ...state(), s: String(overview.entries.indexOf(e)) }), class: 'cell ' + e.verdict },
    h('span', { class: 'origin' }, originText(overview.origins[e.origin])), verdictText(e.verdict), (e.metrics || []).slice(0, 3).map((m) => h('span', {}, quantity(m.value, m.unit))));
  return h('details', { class: 'matrix', open: true }, h('summary', {}, t('matrix')),
    table([t('claim'), ...overview.origins.map(originText), ''],
      all.slice(0, 200).map(({ name, row, first, second, different }) => [name, ...overview.origins.map((/** @type {any} */ _, /** @type {number} */ i) => cell(row[i])), h('div', {}, different && [h('strong', {}, t('differs')), ...what(first, second)], ' ',
        second && h('a', { href: formatState({ ...state(), s: String(overview.entries.indexOf(first)), with: String(overview.entries.indexOf(second)) }), 'aria-label': `${t('overlay')}: ${name}` }, t('overlay')))])),
    all.length > 200 ? h('p', { class: 'note' }, t('rowsLeftOut', all.length - 200)) : null);
}
