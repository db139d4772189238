// A sweep: one metric over a dimension with a confidence band, over two as a heat map, its values as box plots and distributions, and all
// as a table. Points are links to the scenarios in which they were measured.

/**
 * @typedef {object} SweepFigure
 * @property {number[]} values
 * @property {string} [unit]
 * @property {number} median
 * @property {number} low
 * @property {number} high
 * @property {number} confidence
 */

/**
 * @typedef {object} SweepPoint
 * @property {string} name
 * @property {Record<string, number | string>} dimensions
 * @property {Record<string, SweepFigure>} figures
 * @property {boolean} [busy]
 * @property {Array<{seed: string, entry: number}>} scenarios
 */

/** @typedef {{kernel: string, seeds: string[], failed: string[], dimensions: string[], points: SweepPoint[]}} Sweep */

/** What a dimension's value is called. @param {string} dimension @param {number | string} value */
function dimensionText(dimension, value) {
  if (typeof value === 'string') return value || '–';
  if (dimension === 'loss') return `${digits(100 * value)} %`;
  if (dimension === 'buffer') return value ? t('packetsOf', digits(value)) : '1 BDP';
  if (dimension.endsWith('_bit_per_s')) return bits(value);
  if (dimension.endsWith('_ns')) return duration(value);
  return digits(value);
}

/** @param {string} dimension */
function dimensionName(dimension) {
  const known = /** @type {Record<string, string>} */ ({ rate_bit_per_s: t('rate'), rtt_ns: t('pathRTT'), loss: t('loss'), buffer: t('buffer'), flows: t('flows'), duration_ns: t('lasts') });
  return known[dimension] ?? dimension.replace(/_ns$|_bit_per_s$/, '').replace(/_/g, ' ');
}

/** The distinct values of a dimension, in order. @param {SweepPoint[]} points @param {string} dimension */
function valuesOf(points, dimension) {
  const all = [...new Set(points.map((p) => p.dimensions[dimension]))];
  return all.sort((a, b) => typeof a === 'number' && typeof b === 'number' ? a - b : String(a) < String(b) ? -1 : 1);
}

/**
 * What is looked at: a metric, a dimension across, one that tells lines apart, and a value of each other one.
 * @param {Sweep} sweep
 * @param {State} s
 */
function sweepView(sweep, s) {
  const metrics = [...new Set(sweep.points.flatMap((p) => Object.keys(p.figures)))].sort();
  const metric = metrics.includes(s.m || '') ? /** @type {string} */ (s.m) : metrics.includes('goodput') ? 'goodput' : metrics[0];
  const numeric = sweep.dimensions.filter((d) => sweep.points.every((p) => typeof p.dimensions[d] === 'number'));
  const across = sweep.dimensions.includes(s.x || '') ? /** @type {string} */ (s.x) : numeric[0] ?? sweep.dimensions[0];
  const rest = sweep.dimensions.filter((d) => d !== across);
  const by = s.by === 'none' ? '' : rest.includes(s.by || '') ? /** @type {string} */ (s.by) : rest.find((d) => d === 'flows') ?? rest[0] ?? '';
  /** @type {Record<string, number | string>} */
  const fixed = {};
  for (const d of rest.filter((x) => x !== by)) {
    const values = valuesOf(sweep.points, d);
    fixed[d] = values[Number(s['f-' + d]) || 0] ?? values[0];
  }
  const points = sweep.points.filter((p) => p.figures[metric] && Object.entries(fixed).every(([d, v]) => p.dimensions[d] === v));
  return { metrics, metric, across, by, fixed, points, xs: across ? valuesOf(points, across) : [], lines: by ? valuesOf(points, by) : [''] };
}

/** Quartiles and ends, for a box: the medians of all values, and of those below and above. @param {number[]} values */
function boxOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (/** @type {number} */ share) => {
    const place = share * (sorted.length - 1), low = Math.floor(place);
    return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (place - low);
  };
  return { least: sorted[0], lower: at(0.25), median: at(0.5), upper: at(0.75), most: sorted[sorted.length - 1] };
}

/** The share of values that are no larger, at each of them. @param {number[]} values @returns {Array<[number, number]>} */
function distributionOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.map((v, i) => [v, (i + 1) / sorted.length]);
}

/** Round numbers for an axis: the last is no less than the end. @param {number} high @param {number} [low] */
function ticksTo(high, low = 0) {
  if (!(high > low)) return [low, low + 1];
  const power = 10 ** Math.floor(Math.log10((high - low) / 4)), step = [1, 2, 5, 10].map((x) => x * power).find((x) => x * 5 >= high - low) ?? 10 * power;
  const ticks = [];
  for (let i = Math.floor(low / step + 1e-9); ; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
    if (i * step >= high - 1e-9 * step) return ticks;
  }
}

const sweepDashes = ['', '7 4', '2 3', '9 3 2 3', '4 2', '12 4'];

/** A mark of a line's own shape. @param {number} line @param {number} x @param {number} y */
function sweepMark(line, x, y) {
  const r = 4.5;
  const shapes = [
    () => svg('circle', { cx: x, cy: y, r }), () => svg('rect', { x: x - r, y: y - r, width: 2 * r, height: 2 * r }), () => svg('polygon', { points: `${x},${y - 6} ${x + 6},${y + 4} ${x - 6},${y + 4}` }),
    () => svg('polygon', { points: `${x},${y - 6} ${x + 6},${y} ${x},${y + 6} ${x - 6},${y}` }), () => svg('polygon', { points: `${x},${y + 6} ${x + 6},${y - 4} ${x - 6},${y - 4}` }), () => svg('path', { class: 'x', d: `M${x - r},${y - r} l${2 * r},${2 * r} m0,${-2 * r} l${-2 * r},${2 * r}` }),
  ];
  return shapes[line % shapes.length]();
}

/** @param {SweepFigure} f */
function figureText(f) {
  return f.values.length > 1 ? t('medianOf', quantity(f.median, f.unit), quantity(f.low, f.unit), quantity(f.high, f.unit), f.values.length, digits(100 * f.confidence)) : quantity(f.median, f.unit);
}

/** Something of a point, that leads to its scenario where the page has it. @param {SweepPoint} p @param {string} label @param {...Element} shapes */
function pointLink(p, label, ...shapes) {
  const first = p.scenarios[0];
  const title = svg('title', {}, label);
  return first ? svg('a', { href: formatState({ ...state(), s: String(first.entry) }), class: 'point', 'aria-label': label }, title, shapes) : svg('g', { class: 'point', role: 'img', 'aria-label': label, tabindex: '0' }, title, shapes);
}

/**
 * A frame with axes, into which a picture is drawn. Values across are evenly spaced.
 * @param {string} name
 * @param {string[]} across
 * @param {number} high
 * @param {string} [unit]
 */
function sweepFrame(name, across, high, unit) {
  const narrow = innerWidth < 700, width = narrow ? 340 : 900, height = narrow ? 280 : 360, left = narrow ? 64 : 84, right = 14, top = 14, bottom = 44;
  const ticks = ticksTo(high), most = ticks[ticks.length - 1];
  const x = (/** @type {number} */ i) => left + (width - left - right) * (across.length > 1 ? (i + 0.5) / across.length : 0.5);
  const y = (/** @type {number} */ v) => height - bottom - (height - top - bottom) * v / most;
  const picture = svg('svg', { class: 'sweep', viewBox: `0 0 ${width} ${height}`, width, height, role: 'group', 'aria-label': name });
  for (const v of ticks) picture.append(svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(v), y2: y(v) }), svg('text', { x: left - 6, y: y(v) + 4, 'text-anchor': 'end' }, axisValue(v, unit)));
  const every = Math.ceil(across.length / (narrow ? 4 : 10));
  across.forEach((text, i) => { if (i % every === 0) picture.append(svg('text', { x: x(i), y: height - bottom + 18, 'text-anchor': 'middle' }, text)); });
  return { picture, x, y, width, height, left, right, bottom, step: (width - left - right) / Math.max(1, across.length) };
}

/** @param {string} dimension @param {Array<number | string>} lines */
function sweepLegend(dimension, lines) {
  if (!dimension) return null;
  return h('ul', { class: 'legend sweep-legend' }, lines.map((v, i) => h('li', { class: 'line' + i % 6 }, svg('svg', { width: 46, height: 14, 'aria-hidden': 'true', class: 'sweep' }, svg('line', { class: 'median', x1: 2, x2: 44, y1: 7, y2: 7, 'stroke-dasharray': sweepDashes[i % 6] }), sweepMark(i, 23, 7)), ' ', dimensionText(dimension, v))));
}

/** @param {ReturnType<typeof sweepView>} view @param {SweepPoint} p */
function pointName(view, p) { return [view.by && dimensionText(view.by, p.dimensions[view.by]), view.across && `${dimensionName(view.across)} ${dimensionText(view.across, p.dimensions[view.across])}`].filter(Boolean).join(', '); }

/** The points of each line, in the order of the axis. @param {ReturnType<typeof sweepView>} view */
function lineups(view) {
  return view.lines.map((line) => view.points.filter((p) => !view.by || p.dimensions[view.by] === line)
    .map((p) => ({ p, at: view.across ? view.xs.indexOf(p.dimensions[view.across]) : 0, f: p.figures[view.metric] })).sort((a, b) => a.at - b.at));
}

/** The metric over a dimension: medians as lines, confidence intervals as bands. @param {ReturnType<typeof sweepView>} view */
function bandFigure(view) {
  const unit = view.points[0].figures[view.metric].unit, high = Math.max(...view.points.map((p) => p.figures[view.metric].high));
  const frame = sweepFrame(`${view.metric}: ${view.across ? dimensionName(view.across) : ''}`, view.xs.map((v) => dimensionText(view.across, v)), high, unit);
  lineups(view).forEach((line, n) => {
    const g = svg('g', { class: 'line' + n % 6 });
    const at = (/** @type {'low' | 'median' | 'high'} */ which) => line.map(({ at: i, f }) => `${frame.x(i)},${frame.y(f[which])}`);
    if (line.length > 1) g.append(svg('polygon', { class: 'band', points: [...at('high'), ...at('low').reverse()].join(' ') }), svg('polyline', { class: 'median', points: at('median').join(' '), 'stroke-dasharray': sweepDashes[n % 6] }));
    for (const { p, at: i, f } of line) {
      g.append(pointLink(p, `${pointName(view, p)}: ${figureText(f)}${p.busy ? '; ' + t('busy') : ''}`, svg('line', { class: 'whisker', x1: frame.x(i), x2: frame.x(i), y1: frame.y(f.low), y2: frame.y(f.high) }), sweepMark(n, frame.x(i), frame.y(f.median))));
    }
    frame.picture.append(g);
  });
  if (view.across) frame.picture.append(svg('text', { class: 'axis-name', x: frame.width - frame.right, y: frame.height - 6, 'text-anchor': 'end' }, dimensionName(view.across)));
  return frame.picture;
}

/** A box for each point: quartiles, median, and the ends as whiskers. @param {ReturnType<typeof sweepView>} view */
function boxFigure(view) {
  const unit = view.points[0].figures[view.metric].unit, high = Math.max(...view.points.flatMap((p) => p.figures[view.metric].values));
  const frame = sweepFrame(`${view.metric}: ${t('boxes')}`, view.xs.map((v) => dimensionText(view.across, v)), high, unit);
  const all = lineups(view), width = Math.min(26, frame.step * 0.8 / all.length);
  all.forEach((line, n) => {
    const g = svg('g', { class: 'line' + n % 6 });
    for (const { p, at, f } of line) {
      const b = boxOf(f.values), x = frame.x(at) + (n - (all.length - 1) / 2) * width * 1.1, y = frame.y;
      g.append(pointLink(p, `${pointName(view, p)}: ${t('boxText', quantity(b.least, f.unit), quantity(b.lower, f.unit), quantity(b.median, f.unit), quantity(b.upper, f.unit), quantity(b.most, f.unit))}`,
        svg('line', { class: 'whisker', x1: x, x2: x, y1: y(b.least), y2: y(b.most) }), svg('rect', { class: 'box', x: x - width / 2, width, y: y(b.upper), height: Math.max(1, y(b.lower) - y(b.upper)), 'stroke-dasharray': sweepDashes[n % 6] }),
        svg('line', { class: 'median', x1: x - width / 2, x2: x + width / 2, y1: y(b.median), y2: y(b.median) })));
    }
    frame.picture.append(g);
  });
  return frame.picture;
}

/** How the seeds' values are distributed, at one place of the axis. @param {ReturnType<typeof sweepView>} view @param {number} place */
function cdfFigure(view, place) {
  const some = lineups(view).map((line) => line.find((x) => x.at === place));
  const values = some.flatMap((x) => x?.f.values || []);
  const unit = some.find(Boolean)?.f.unit, low = Math.min(...values), high = Math.max(...values), span = high - low || Math.abs(high) || 1;
  const ticks = ticksTo(high + 0.02 * span, Math.max(0, low - 0.02 * span)), from = ticks[0], to = ticks[ticks.length - 1];
  const frame = sweepFrame(`${view.metric}: ${t('cdf')}`, [], 1);
  const x = (/** @type {number} */ v) => frame.left + (frame.width - frame.left - frame.right) * (v - from) / (to - from);
  ticks.forEach((v, i) => frame.picture.append(svg('text', { x: x(v), y: frame.height - frame.bottom + 18, 'text-anchor': i === ticks.length - 1 ? 'end' : 'middle' }, axisValue(v, unit))));
  some.forEach((x1, n) => {
    if (!x1) return;
    let path = `M${x(from)},${frame.y(0)}`, last = 0;
    for (const [v, share] of distributionOf(x1.f.values)) {
      path += ` L${x(v)},${frame.y(last)} L${x(v)},${frame.y(share)}`;
      last = share;
    }
    path += ` L${x(to)},${frame.y(1)}`;
    frame.picture.append(svg('g', { class: 'line' + n % 6 }, pointLink(x1.p, `${pointName(view, x1.p)}: ${figureText(x1.f)}`, svg('path', { class: 'hit', d: path }), svg('path', { class: 'median', d: path, 'stroke-dasharray': sweepDashes[n % 6] }))));
  });
  return frame.picture;
}

/** Two dimensions as a table, whose cells are the darker the higher. @param {ReturnType<typeof sweepView>} view */
function heatMap(view) {
  const medians = view.points.map((p) => p.figures[view.metric].median), low = Math.min(...medians), high = Math.max(...medians);
  const cell = (/** @type {number | string} */ x, /** @type {number | string} */ line) => {
    const p = view.points.find((q) => q.dimensions[view.across] === x && q.dimensions[view.by] === line);
    if (!p) return h('td', {}, '–');
    const f = p.figures[view.metric], share = high > low ? (f.median - low) / (high - low) : 0;
    const text = quantity(f.median, f.unit);
    return h('td', { class: 'heat', style: { '--share': `${Math.round(45 * share)}%` } }, p.scenarios.length ? h('a', { href: formatState({ ...state(), s: String(p.scenarios[0].entry) }) }, text) : text);
  };
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': t('heatMap') }, h('table', { class: 'heat-map' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, `${dimensionName(view.by)} \\ ${dimensionName(view.across)}`), view.xs.map((x) => h('th', { scope: 'col' }, dimensionText(view.across, x))))),
    h('tbody', {}, view.lines.map((line) => h('tr', {}, h('th', { scope: 'row' }, dimensionText(view.by, line)), view.xs.map((x) => cell(x, line)))))));
}

/** @param {any} overview @param {State} s */
function sweepSection(overview, s) {
  /** @type {Sweep} */
  const sweep = overview.sweep;
  const view = sweepView(sweep, s);
  const select = (/** @type {string} */ key, /** @type {string} */ label, /** @type {Array<[string, string]>} */ options, /** @type {string} */ now) => options.length < 2 ? null : h('label', {}, label, ' ',
    h('select', { id: 'sweep-' + key, onchange: (/** @type {Event} */ e) => setState({ [key]: /** @type {HTMLSelectElement} */ (e.target).value }) }, options.map(([v, text]) => h('option', { value: v, selected: v === now }, text))));
  const dimensions = /** @type {Array<[string, string]>} */ (sweep.dimensions.map((d) => [d, dimensionName(d)]));
  const place = Math.min(Math.max(0, Number(s.at ?? view.xs.length - 1) || 0), Math.max(0, view.xs.length - 1));
  const chooser = h('form', { class: 'filters', onsubmit: (/** @type {Event} */ e) => e.preventDefault() },
    select('m', t('metric'), view.metrics.map((m) => [m, m]), view.metric), select('x', t('across'), dimensions, view.across),
    select('by', t('lines'), [...dimensions.filter(([d]) => d !== view.across), /** @type {[string, string]} */ (['none', t('nobody')])], view.by || 'none'),
    Object.entries(view.fixed).map(([d, v]) => select('f-' + d, dimensionName(d), valuesOf(sweep.points, d).map((x, i) => [String(i), dimensionText(d, x)]), String(valuesOf(sweep.points, d).indexOf(v)))));
  const several = sweep.seeds.length > 1;
  const figure = (/** @type {string} */ title, /** @type {Child} */ help, /** @type {Child} */ picture) => h('figure', { class: 'figure' }, h('figcaption', {}, title), help && h('p', { class: 'help' }, help), h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title }, picture), sweepLegend(view.by, view.lines));
  const unit = view.points[0]?.figures[view.metric].unit;
  const inUnit = unit && unit !== 's' && unit !== 'bit/s' ? ` (${seriesName(unit)})` : '';
  const section = h('section', { class: 'sweep-section' }, h('p', { class: 'meta' }, `${t('kernel')} ${sweep.kernel}`), chooser);
  if (sweep.failed.length) section.append(h('details', { open: true }, h('summary', { class: 'failed' }, `${t('failed')} (${sweep.failed.length})`), h('ul', {}, sweep.failed.map((f) => h('li', {}, f)))));
  if (!view.points.length) {
    section.append(h('p', {}, t('nothing')));
    return section;
  }
  section.append(figure(view.metric + inUnit, several ? t('bandHelp') : '', bandFigure(view)));
  if (view.by && view.xs.length > 1) section.append(h('h3', {}, t('heatMap')), heatMap(view));
  if (several) {
    section.append(figure(`${t('boxes')}: ${view.metric}${inUnit}`, t('boxHelp'), boxFigure(view)));
    const at = view.across ? select('at', dimensionName(view.across), view.xs.map((v, i) => [String(i), dimensionText(view.across, v)]), String(place)) : null;
    section.append(h('form', { class: 'filters', onsubmit: (/** @type {Event} */ e) => e.preventDefault() }, at), figure(`${t('cdf')}: ${view.metric}${inUnit}`, '', cdfFigure(view, place)));
  }
  section.append(sweepTable(sweep, view.metrics));
  return section;
}

/** @param {Sweep} sweep @param {string[]} metrics */
function sweepTable(sweep, metrics) {
  return tableBehind(`${t('table')} (${sweep.points.length})`, [...sweep.dimensions.map(dimensionName), ...metrics, t('scenarios')], () => sweep.points.map((p) => [
    ...sweep.dimensions.map((d) => dimensionText(d, p.dimensions[d])),
    ...metrics.map((m) => p.figures[m] ? h('span', {}, quantity(p.figures[m].median, p.figures[m].unit), p.figures[m].low !== p.figures[m].high ? ` (${quantity(p.figures[m].low, p.figures[m].unit)} – ${quantity(p.figures[m].high, p.figures[m].unit)})` : '') : ''),
    h('span', {}, p.busy ? t('busy') + ' ' : '', p.scenarios.length ? p.scenarios.map((x) => [h('a', { href: formatState({ ...state(), s: String(x.entry) }) }, `${t('seed')} ${x.seed}`), ' ']).flat() : p.name)]));
}
