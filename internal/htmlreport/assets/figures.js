// Numbers for people.

/**
 * Up to four significant digits.
 * @param {number} value
 */
function digits(value) {
  if (!Number.isFinite(value)) return String(value);
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

/** @param {number} ns */
function duration(ns) {
  const size = Math.abs(ns);
  if (size === 0) return '0 s';
  if (size < 1e3) return `${ns} ns`;
  if (size < 1e6) return digits(ns / 1e3) + ' µs';
  if (size < 1e9) return digits(ns / 1e6) + ' ms';
  if (size < 120e9) return digits(ns / 1e9) + ' s';
  const s = Math.round(size / 1e9);
  const minutes = Math.floor(s / 60) % 60, hours = Math.floor(s / 3600);
  return (ns < 0 ? '-' : '') + (hours ? `${hours} h ` : '') + `${minutes} min ${s % 60} s`;
}

/**
 * A time on the axis, in milliseconds with all its digits.
 * @param {number} ns
 */
function moment(ns) { return (ns / 1e6).toLocaleString('en-US', { minimumFractionDigits: 6, maximumFractionDigits: 6 }) + ' ms'; }

/** The same to the microsecond. @param {number} ns */
function shortMoment(ns) { return (ns / 1e6).toLocaleString('en-US', { minimumFractionDigits: 3, maximumFractionDigits: 3 }) + ' ms'; }

/**
 * @param {number} value
 * @param {string} [unit]
 */
function quantity(value, unit) {
  if (unit === 's') return duration(value * 1e9);
  if (unit === 'bit/s') return bits(value);
  return unit ? `${digits(value)} ${seriesName(unit)}` : digits(value);
}

/**
 * What stands beside an axis: short.
 * @param {number} value
 * @param {string} [unit]
 */
function axisValue(value, unit) {
  if (unit === 's' || unit === 'bit/s') return quantity(value, unit);
  return Math.abs(value) >= 1e6 ? `${digits(value / 1e6)} M` : Math.abs(value) >= 1e4 ? `${digits(value / 1e3)} k` : digits(value);
}

/** @param {number} value in bit/s */
function bits(value) {
  for (const [size, name] of /** @type {Array<[number, string]>} */ ([[1e9, 'Gbit/s'], [1e6, 'Mbit/s'], [1e3, 'kbit/s']])) {
    if (Math.abs(value) >= size) return `${digits(value / size)} ${name}`;
  }
  return `${digits(value)} bit/s`;
}

/** @param {number} count of bytes */
function bytes(count) { return `${digits(count)} B`; }

/** @param {number} flags */
function flagText(flags) { return flagNames.filter((_, i) => flags & (1 << i)).join(' '); }

/**
 * @typedef {object} Metric
 * @property {string} name
 * @property {number} value
 * @property {string} [unit]
 * @property {number} [of]
 * @property {{lower?: number, upper?: number, margin: number, share: number, source?: string}} [bounds]
 */

/** @param {Metric} m */
function expected(m) {
  const b = m.bounds;
  if (!b) return '';
  if (b.lower !== undefined && b.lower === b.upper) return quantity(b.lower, m.unit);
  if (b.lower !== undefined && b.upper !== undefined) return `${quantity(b.lower, m.unit)} … ${quantity(b.upper, m.unit)}`;
  if (b.lower !== undefined) return `≥ ${quantity(b.lower, m.unit)}`;
  if (b.upper !== undefined) return `≤ ${quantity(b.upper, m.unit)}`;
  return '';
}

/**
 * Where a value is in its bounds, for the bar: both as shares of the bar's width. The bounds take the middle three fifths; with one
 * bound only, the other is as far as the value goes.
 * @param {Metric} m
 */
function barOf(m) {
  const b = m.bounds;
  if (!b) return null;
  const lower = b.lower ?? Math.min(m.value, b.upper ?? m.value), upper = b.upper ?? Math.max(m.value, b.lower ?? m.value);
  const width = upper - lower;
  const inside = (b.lower === undefined || m.value >= b.lower) && (b.upper === undefined || m.value <= b.upper);
  const share = width > 0 ? (m.value - lower) / width : m.value < lower ? -1 : m.value > upper ? 2 : 0.5;
  return { inside, position: 0.2 + 0.6 * Math.min(4 / 3, Math.max(-1 / 3, share)), openLeft: b.lower === undefined, openRight: b.upper === undefined };
}

/**
 * The bar of a metric: the bounds as a box, the value as a mark.
 * @param {Metric} m
 */
function bar(m) {
  const at = barOf(m);
  if (!at) return null;
  const text = `${m.name} ${quantity(m.value, m.unit)}, ${t('expected')} ${expected(m)}, ${t('margin')} ${quantity(m.bounds?.margin ?? 0, m.unit)}`;
  const x = 100 * at.position;
  return svg('svg', { class: 'bar', viewBox: '0 0 100 14', width: 100, height: 14, role: 'img', 'aria-label': text },
    svg('title', {}, text),
    svg('rect', { class: 'bounds', x: at.openLeft ? 0 : 20, y: 3, width: (at.openRight ? 100 : 80) - (at.openLeft ? 0 : 20), height: 8 }),
    !at.openLeft && svg('line', { class: 'edge', x1: 20, x2: 20, y1: 1, y2: 13 }),
    !at.openRight && svg('line', { class: 'edge', x1: 80, x2: 80, y1: 1, y2: 13 }),
    at.inside
      ? svg('circle', { class: 'value', cx: x, cy: 7, r: 4 })
      : svg('path', { class: 'value outside', d: `M${x - 4},3 l8,8 m0,-8 l-8,8` }));
}

/** @param {Metric} m */
function metricRow(m) {
  return h('div', { class: 'metric' },
    h('span', { class: 'name' }, m.name, m.of ? ` (${t('nearestOf', m.of)})` : ''),
    h('span', { class: 'number' }, quantity(m.value, m.unit)),
    bar(m),
    m.bounds && h('span', { class: 'expected' }, expected(m), m.bounds.source ? h('span', { class: 'origin' }, ' ' + m.bounds.source) : ''));
}
