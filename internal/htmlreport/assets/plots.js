// The plots on one time axis, drawn by uPlot: they zoom together, and have one cursor.

/** @typedef {any} Plot an instance of uPlot */

/** Colours by what is drawn: names of the style's variables. @type {Record<string, string>} */
const causeColours = {
  SYN: '--syn', fast: '--fast', 'tail loss probe': '--tlp', timeout: '--rto', recovery: '--recovery', spurious: '--spurious', 'fast open': '--syn', 'path MTU': '--syn', unexplained: '--other',
};

/** Letters beside retransmissions, for who does not tell the colours apart. @type {Record<string, string>} */
const causeLetters = { SYN: 'S', fast: 'F', 'tail loss probe': 'P', timeout: 'T', recovery: 'R', spurious: 'X', 'fast open': 'O', 'path MTU': 'M', unexplained: '?' };

/** @param {string} name */
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

class TimeAxis {
  /**
   * @param {number} from in nanoseconds
   * @param {number} to
   * @param {(from: number, to: number) => void} zoomed
   */
  constructor(from, to, zoomed) {
    const margin = Math.max((to - from) * 0.02, 1e3);
    this.all = [from - margin, to + margin];
    this.now = this.all;
    this.zoomed = zoomed;
    /** @type {Plot[]} */
    this.plots = [];
  }

  /** @param {number} from @param {number} to */
  zoom(from, to) {
    if (!(to - from > 100)) return; // nanoseconds
    this.now = [from, to];
    for (const p of this.plots) p.setScale('x', { min: from / 1e9, max: to / 1e9 });
    this.zoomed(from, to);
  }

  reset() { this.zoom(this.all[0], this.all[1]); }
}

/** @param {number} s @param {number} span */
function axisTime(s, span) {
  if (span >= 10) return digits(s) + ' s';
  const places = span >= 1 ? 0 : span >= 0.01 ? 1 : 3;
  return (s * 1e3).toLocaleString('en-US', { minimumFractionDigits: places, maximumFractionDigits: places }) + ' ms';
}

/**
 * What all plots have in common.
 * @param {TimeAxis} axis
 * @param {HTMLElement} holder
 * @param {number} height
 * @param {(v: number) => string} value
 */
function plotOptions(axis, holder, height, value) {
  const text = colour('--text'), grid = colour('--grid'), font = '12px system-ui, sans-serif';
  return {
    width: Math.max(280, holder.clientWidth || 800), height, legend: { show: false }, padding: [12, 34, 0, 0],
    cursor: { sync: { key: 'time', setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
    scales: /** @type {any} */ ({}),
    axes: [
      { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, space: 90, values: (/** @type {Plot} */ u, /** @type {number[]} */ vs) => vs.map((v) => axisTime(v, u.scales.x.max - u.scales.x.min)) },
      { stroke: text, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, size: 76, values: (/** @type {Plot} */ _, /** @type {number[]} */ vs) => vs.map(value) },
    ],
  };
}

/**
 * @param {TimeAxis} axis
 * @param {any} options
 * @param {any[]} data
 * @param {HTMLElement} holder
 * @returns {Plot}
 */
function makePlot(axis, options, data, holder) {
  options.scales.x = { time: false, range: () => [axis.now[0] / 1e9, axis.now[1] / 1e9] };
  options.hooks = { ...options.hooks, setSelect: [(/** @type {Plot} */ u) => {
    const { left, width } = u.select;
    if (width < 4) return;
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    axis.zoom(u.posToVal(left, 'x') * 1e9, u.posToVal(left + width, 'x') * 1e9);
  }] };
  options.cursor.bind = { dblclick: () => () => { axis.reset(); return null; } };
  const plot = new uPlot(options, data, holder);
  axis.plots.push(plot);
  new ResizeObserver(() => {
    const width = Math.max(280, holder.clientWidth);
    if (Math.abs(width - plot.width) > 1) requestAnimationFrame(() => plot.setSize({ width, height: plot.height }));
  }).observe(holder);
  return plot;
}

/**
 * The time-sequence plot.
 * @param {any} scenario
 * @param {{connection: number, place: number, server: number}} view
 * @param {TimeAxis} axis
 * @param {(p: Packet) => void} open
 */
function sequencePlot(scenario, view, axis, open) {
  const dropped = scenario.content.places.map((/** @type {any} */ p) => Boolean(p.dropped));
  const marks = sequenceOf(scenario.packets, { ...view, dropped });
  const causes = scenario.names.causes, states = tcpStates(scenario, view.connection);
  const highest = (/** @type {string} */ kind) => marks.reduce((m, x) => x.kind === kind ? Math.max(m, x.to) : m, 0);
  let edges = highest('edge') <= 4 * Math.max(1, highest('segment'));
  const holder = h('div', { class: 'plot sequence', tabindex: '0', role: 'application', 'aria-label': t('sequence') + '. ' + t('sequenceHelp') });
  const tip = h('div', { class: 'tip', hidden: true });
  let chosen = /** @type {SequenceMark | null} */ (null);

  const data = () => {
    const wanted = marks.filter((m) => edges || m.kind !== 'edge').slice().sort((a, b) => a.time - b.time);
    return [wanted.map((m) => m.time / 1e9), wanted.map((m) => m.from), wanted.map((m) => m.to)];
  };
  const hidden = { stroke: 'transparent', paths: () => null, points: { show: false } };
  const options = /** @type {any} */ (plotOptions(axis, holder, innerWidth < 600 ? 320 : 420, (v) => axisValue(v)));
  options.series = [{}, hidden, hidden];
  options.hooks = { draw: [draw], setCursor: [hover] };

  /** @param {Plot} u */
  function draw(u) {
    const c = u.ctx, ratio = devicePixelRatio;
    const { left, top, width, height } = u.bbox;
    const X = (/** @type {number} */ ns) => u.valToPos(ns / 1e9, 'x', true), Y = (/** @type {number} */ v) => u.valToPos(v, 'y', true);
    const visible = marks.filter((m) => m.time >= axis.now[0] && m.time <= axis.now[1]);
    c.save();
    c.beginPath();
    c.rect(left, top, width, height);
    c.clip();
    drawBands(u, scenario, view);
    c.lineWidth = ratio;
    for (const [kind, name] of [['edge', '--edge'], ['ack', '--ack']]) {
      if (kind === 'edge' && !edges) continue;
      c.strokeStyle = colour(name);
      c.lineWidth = (kind === 'ack' ? 1.5 : 1) * ratio;
      c.beginPath();
      let last = /** @type {number | null} */ (null), high = 0;
      for (const m of marks) {
        if (m.kind !== kind) continue;
        high = Math.max(high, m.to);
        const x = X(m.time), y = Y(kind === 'ack' ? high : m.to);
        if (last === null) c.moveTo(x, y);
        else { c.lineTo(x, last); c.lineTo(x, y); }
        last = y;
      }
      if (last !== null) c.lineTo(X(axis.now[1]), last);
      c.stroke();
    }
    let before = /** @type {SequenceMark | null} */ (null);
    const letters = visible.filter((m) => m.kind === 'segment' && m.packet.cause >= 0).length < 80;
    for (const m of marks) {
      if (m.kind !== 'segment') continue;
      if (m.packet.leftOut && before) {
        c.strokeStyle = colour('--first');
        c.lineWidth = ratio / 2;
        c.beginPath();
        c.moveTo(X(before.time), Y(before.to));
        c.lineTo(X(m.time), Y(m.from));
        c.stroke();
      }
      before = m;
      if (m.time < axis.now[0] || m.time > axis.now[1]) continue;
      const cause = m.packet.cause >= 0 ? causes[m.packet.cause] : '';
      const x = X(m.time), bottom = Y(m.from), high = Math.min(Y(m.to), bottom - 3 * ratio);
      c.strokeStyle = colour(cause ? causeColours[cause] || '--other' : '--first');
      c.lineWidth = (cause ? 3 : 2) * ratio;
      c.beginPath();
      c.moveTo(x, bottom);
      c.lineTo(x, high);
      c.moveTo(x - 3 * ratio, high);
      c.lineTo(x + 3 * ratio, high);
      c.moveTo(x - 3 * ratio, bottom);
      c.lineTo(x + 3 * ratio, bottom);
      c.stroke();
      if (cause && letters) {
        c.fillStyle = c.strokeStyle;
        c.font = `bold ${12 * ratio}px system-ui, sans-serif`;
        c.textAlign = 'left'; // beside it: above it SACK blocks begin
        c.fillText(causeLetters[cause] || '?', x + 8 * ratio, (high + bottom) / 2 + 4 * ratio);
      }
    }
    const deaths = visible.filter((m) => m.kind === 'dropped' || m.kind === 'lost').length;
    for (const m of visible) {
      const x = X(m.time), y = Y(m.from);
      switch (m.kind) {
        case 'sack': case 'dsack':
          c.strokeStyle = colour(m.kind === 'sack' ? '--sack' : '--dsack');
          c.lineWidth = 3 * ratio;
          c.setLineDash([3 * ratio, 2 * ratio]);
          c.beginPath(); c.moveTo(x, y); c.lineTo(x, Math.min(Y(m.to), y - 2 * ratio)); c.stroke();
          c.setLineDash([]);
          break;
        case 'dropped': case 'lost': cross(c, x, y, (deaths > 20 ? 3.5 : 6) * ratio, colour('--death'), m.kind === 'lost'); break;
        case 'acted': diamond(c, x, y, 5 * ratio, colour('--acted')); break;
        case 'reset': case 'zero':
          c.fillStyle = colour(m.kind === 'reset' ? '--death' : '--rto');
          c.font = `bold ${12 * ratio}px system-ui, sans-serif`;
          c.textAlign = 'center';
          c.fillText(m.kind === 'reset' ? 'RST' : 'Z', x, y - 4 * ratio);
          break;
      }
    }
    drawSteps(u, scenario);
    const openPacket = state().p;
    for (const m of marks) {
      if (m !== chosen && !(openPacket !== undefined && m.packet.index === Number(openPacket) && m.kind !== 'edge')) continue;
      c.strokeStyle = colour('--chosen');
      c.lineWidth = 2 * ratio;
      c.beginPath();
      c.arc(X(m.time), (Y(m.from) + Y(m.to)) / 2, 10 * ratio, 0, 2 * Math.PI);
      c.stroke();
    }
    c.restore();
  }

  /** @param {Plot} u */
  function hover(u) {
    const { left, top } = u.cursor;
    if (left == null || left < 0 || u.cursor.event == null || !holder.matches(':hover')) { tip.hidden = true; return; }
    chosen = pick(left, top);
    tip.hidden = !chosen;
    if (chosen) tip.textContent = markText(chosen, scenario);
    tip.style.left = Math.min(left + 90, Math.max(0, holder.clientWidth - 260)) + 'px';
    tip.style.top = Math.max(0, top - 10) + 'px';
  }

  /** @param {number} x @param {number} y */
  function pick(x, y) {
    return nearestMark(marks.filter((m) => m.time >= axis.now[0] && m.time <= axis.now[1]), (m) => {
      const low = plot.valToPos(m.from, 'y'), high = plot.valToPos(m.to, 'y');
      return { x: plot.valToPos(m.time / 1e9, 'x'), top: Math.min(low, high) - 3, bottom: Math.max(low, high) };
    }, x, y, 14);
  }

  const plot = makePlot(axis, options, data(), holder);
  holder.append(tip);
  let down = /** @type {number[] | null} */ (null);
  plot.over.addEventListener('mousedown', (/** @type {MouseEvent} */ e) => { down = [e.clientX, e.clientY]; });
  plot.over.addEventListener('click', (/** @type {MouseEvent} */ e) => {
    if (down && Math.hypot(e.clientX - down[0], e.clientY - down[1]) > 4) return; // it was a drag
    const box = plot.over.getBoundingClientRect();
    const m = pick(e.clientX - box.left, e.clientY - box.top);
    if (m) open(m.packet);
  });
  const stops = marks.filter((m) => !['edge', 'sack', 'dsack'].includes(m.kind)).sort((a, b) => a.time - b.time || a.packet.index - b.packet.index);
  holder.addEventListener('keydown', (e) => {
    const [from, to] = axis.now, span = to - from, middle = chosen ? chosen.time : (from + to) / 2;
    const scale = (/** @type {number} */ f) => axis.zoom(Math.max(axis.all[0], middle - span * f / 2), Math.min(axis.all[1], middle + span * f / 2));
    switch (e.key) {
      case '+': case '=': scale(0.5); break;
      case '-': scale(2); break;
      case '0': case 'Home': axis.reset(); break;
      case 'Enter': if (!chosen) return; open(chosen.packet); break;
      case 'ArrowLeft': case 'ArrowRight': {
        const step = e.key === 'ArrowRight' ? 1 : -1;
        if (e.shiftKey) { axis.zoom(from + step * span / 4, to + step * span / 4); break; }
        const at = chosen ? stops.indexOf(chosen) + step : step > 0 ? 0 : stops.length - 1;
        chosen = stops[Math.min(Math.max(0, at), stops.length - 1)] || null;
        if (!chosen) return;
        if (chosen.time < from || chosen.time > to) axis.zoom(chosen.time - span / 2, chosen.time + span / 2);
        plot.redraw(false);
        plot.setCursor({ left: plot.valToPos(chosen.time / 1e9, 'x'), top: plot.valToPos(chosen.to, 'y') });
        tip.hidden = false;
        tip.textContent = markText(chosen, scenario);
        tip.style.left = '90px';
        tip.style.top = '8px';
        say([markText(chosen, scenario), statesAt(states, chosen.time)].filter(Boolean).join('; '));
        break;
      }
      default: return;
    }
    e.preventDefault();
  });
  holder.addEventListener('blur', () => { tip.hidden = true; });

  const toggle = h('label', { class: 'toggle' }, h('input', { type: 'checkbox', checked: edges, onchange: (/** @type {Event} */ e) => {
    edges = /** @type {HTMLInputElement} */ (e.target).checked;
    plot.setData(data(), false);
    axis.zoom(axis.now[0], axis.now[1]);
    plot.redraw();
  } }), ' ', t('edge'));
  return { element: h('figure', { class: 'figure' }, h('figcaption', {}, t('sequenceAxis')), holder, legend(marks, causes), toggle,
    tableBehind(t('table'), [t('frame'), t('time'), t('seenAt'), t('flags'), t('seq'), t('ack'), t('length'), t('window'), t('cause'), t('fate')],
      () => scenario.packets.filter((/** @type {Packet} */ p) => p.connection === view.connection && (p.place === view.place || dropped[p.place])).map((/** @type {Packet} */ p) => [
        h('a', { href: formatState({ ...state(), p: String(p.index) }) }, p.frame), moment(p.at), scenario.content.places[p.place].name, flagText(p.flags), p.seq,
        p.flags & ACK ? p.ack : '', p.length, p.window, p.cause >= 0 ? causeText(causes[p.cause]) : '', fateText(p, scenario)]))), plot };
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {number} x
 * @param {number} y
 * @param {number} r
 * @param {string} stroke
 * @param {boolean} hollow
 */
function cross(c, x, y, r, stroke, hollow) {
  c.strokeStyle = stroke;
  c.lineWidth = r / 2.5;
  c.beginPath();
  c.moveTo(x - r, y - r); c.lineTo(x + r, y + r);
  c.moveTo(x - r, y + r); c.lineTo(x + r, y - r);
  c.stroke();
  if (!hollow) return;
  c.lineWidth = r / 5;
  c.beginPath();
  c.arc(x, y, r * 1.4, 0, 2 * Math.PI);
  c.stroke();
}

/**
 * @param {CanvasRenderingContext2D} c
 * @param {number} x
 * @param {number} y
 * @param {number} r
 * @param {string} fill
 */
function diamond(c, x, y, r, fill) {
  c.fillStyle = fill;
  c.beginPath();
  c.moveTo(x, y - r); c.lineTo(x + r, y); c.lineTo(x, y + r); c.lineTo(x - r, y);
  c.fill();
}

/** Congestion states as shades behind. @param {Plot} u @param {any} scenario @param {any} view */
function drawBands(u, scenario, view) {
  const shades = /** @type {Record<string, string>} */ ({ Recovery: '--band-recovery', Loss: '--band-loss', CWR: '--band-cwr', Disorder: '--band-disorder' });
  for (const b of scenario.content.bands || []) {
    const shade = b.Name === 'congestion' && shades[b.Value];
    if (!shade || b.Connection !== view.connection || Number(b.FromServer) !== view.server) continue;
    const from = u.valToPos(b.From / 1e9, 'x', true), to = u.valToPos(b.To / 1e9, 'x', true);
    u.ctx.fillStyle = colour(shade);
    u.ctx.fillRect(from, u.bbox.top, Math.max(1, to - from), u.bbox.height);
  }
}

/**
 * The TCP states of a connection's two sides: 0 is the client's, 1 the server's.
 * @param {any} scenario
 * @param {number} connection
 * @returns {Array<{side: number, from: number, to: number, state: string, inferred: boolean}>}
 */
function tcpStates(scenario, connection) {
  return (scenario.content.bands || []).filter((/** @type {any} */ b) => b.State && b.Connection === connection)
    .map((/** @type {any} */ b) => ({ side: Number(b.FromServer), from: b.From, to: b.To, state: b.State, inferred: Boolean(b.Inferred) }))
    .sort((/** @type {any} */ a, /** @type {any} */ b) => a.from - b.from || a.side - b.side);
}

/** Each side's state at a time, for who cannot see the band. @param {ReturnType<typeof tcpStates>} states @param {number} at */
function statesAt(states, at) {
  return [0, 1].map((side) => {
    const now = states.filter((x) => x.side === side && x.from <= at).pop();
    return now && `${t(side ? 'server' : 'client')}: ${now.state}`;
  }).filter(Boolean).join(', ');
}

/** @param {ReturnType<typeof tcpStates>[number]} x */
function stateText(x) { return `${t(x.side ? 'server' : 'client')}: ${x.state}, ${shortMoment(x.from)} – ${shortMoment(x.to)}${x.inferred ? ` (${t('inferred')})` : ''}`; }

/**
 * A band for each side with its TCP state, on the axis of the other plots. States are told apart by their edges and names, so that no colours are needed.
 * @param {any} scenario
 * @param {{connection: number}} view
 * @param {TimeAxis} axis
 */
function stateBand(scenario, view, axis) {
  const states = tcpStates(scenario, view.connection);
  if (!states.length) return null;
  const shade = (/** @type {string} */ state) => colour(state === 'CLOSED' ? '--back' : state.startsWith('SYN-') ? '--band-cwr' : state === 'ESTABLISHED' ? '--panel' : '--band-recovery');
  const holder = h('div', { class: 'plot states', tabindex: '0', role: 'application', 'aria-label': `${t('tcpStates')}. ${t('statesHelp')}` });
  const tip = h('div', { class: 'tip', hidden: true });
  let chosen = -1;
  const mount = () => {
    const options = /** @type {any} */ (plotOptions(axis, holder, 60, String));
    options.padding = [4, 34, 4, 0];
    options.scales.y = { range: () => [0, 2] };
    options.axes[0].show = false;
    Object.assign(options.axes[1], { grid: { show: false }, ticks: { show: false }, splits: () => [0.5, 1.5], values: () => [t('server'), t('client')] });
    options.series = [{}, { stroke: 'transparent', paths: () => null, points: { show: false } }];
    options.hooks = { draw: [draw], setCursor: [hover] };
    const plot = makePlot(axis, options, [[axis.all[0] / 1e9, axis.all[1] / 1e9], [0, 0]], holder);
    holder.append(tip);

    /** @param {Plot} u */
    function draw(u) {
      const c = u.ctx, ratio = devicePixelRatio, { left, top, width, height } = u.bbox;
      c.save();
      c.beginPath();
      c.rect(left, top, width, height);
      c.clip();
      c.textAlign = 'left';
      c.textBaseline = 'middle';
      states.forEach((x, i) => {
        const from = Math.max(left - 2 * ratio, u.valToPos(x.from / 1e9, 'x', true)), to = Math.min(left + width + 2 * ratio, u.valToPos(x.to / 1e9, 'x', true));
        if (to < left || from > left + width) return;
        const y = top + x.side * height / 2 + 2 * ratio, high = height / 2 - 4 * ratio;
        c.fillStyle = shade(x.state);
        c.fillRect(from, y, Math.max(ratio, to - from), high);
        c.strokeStyle = colour(i === chosen ? '--chosen' : '--soft');
        c.lineWidth = (i === chosen ? 3 : 1) * ratio;
        c.strokeRect(from, y, Math.max(ratio, to - from), high);
        c.font = `${x.inferred ? 'italic ' : ''}${12 * ratio}px system-ui, sans-serif`;
        c.fillStyle = colour('--text');
        const begin = Math.max(from, left) + 5 * ratio;
        if (c.measureText(x.state).width < Math.min(to, left + width) - begin - 4 * ratio) c.fillText(x.state, begin, y + high / 2);
      });
      c.restore();
    }

    /** @param {string} text @param {number} x */
    function show(text, x) {
      tip.hidden = false;
      tip.textContent = text;
      tip.style.left = Math.max(0, Math.min(x + 90, holder.clientWidth - 260)) + 'px';
      tip.style.top = '60px';
    }

    /** @param {Plot} u */
    function hover(u) {
      const { left, top } = u.cursor;
      if (left == null || left < 0 || u.cursor.event == null || !holder.matches(':hover')) { tip.hidden = true; return; }
      const at = u.posToVal(left, 'x') * 1e9, side = top * 2 > u.over.clientHeight ? 1 : 0;
      const now = states.filter((x) => x.side === side && x.from <= at && at <= x.to).pop();
      tip.hidden = !now;
      if (now) show(stateText(now), left);
    }

    holder.addEventListener('keydown', (e) => {
      const step = e.key === 'ArrowRight' ? 1 : e.key === 'ArrowLeft' ? -1 : 0;
      if (!step && e.key !== '0' && e.key !== 'Home') return;
      e.preventDefault();
      if (!step) { axis.reset(); return; }
      chosen = chosen < 0 && step < 0 ? states.length - 1 : Math.min(Math.max(0, chosen + step), states.length - 1);
      const x = states[chosen], [from, to] = axis.now;
      if (x.from < from || x.from > to) axis.zoom(x.from - (to - from) / 2, x.from + (to - from) / 2);
      plot.redraw(false);
      plot.setCursor({ left: plot.valToPos(x.from / 1e9, 'x'), top: 0 });
      show(stateText(x), plot.valToPos(x.from / 1e9, 'x'));
      say(stateText(x));
    });
    holder.addEventListener('blur', () => { tip.hidden = true; chosen = -1; plot.redraw(false); });
  };
  return { mount, element: h('figure', { class: 'figure strip' }, h('figcaption', {}, t('tcpStates')), holder,
    tableBehind(t('table'), [t('time'), t('host'), t('value'), t('notes')],
      () => states.map((x) => [`${moment(x.from)} – ${moment(x.to)}`, t(x.side ? 'server' : 'client'), x.state, x.inferred ? t('inferred') : '']))) };
}

/** Changes of links as dashed lines. @param {Plot} u @param {any} scenario */
function drawSteps(u, scenario) {
  const c = u.ctx;
  c.strokeStyle = colour('--step');
  c.lineWidth = devicePixelRatio;
  c.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  for (const step of scenario.content.steps || []) {
    const x = u.valToPos(step.At / 1e9, 'x', true);
    if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
    c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke();
  }
  c.setLineDash([]);
}

/** @param {SequenceMark} m @param {any} scenario */
function markText(m, scenario) {
  const p = m.packet;
  const parts = [`${t('frame')} ${p.frame}, ${moment(p.at)}:`, packetText(p)];
  if (p.cause >= 0) parts.push('– ' + t('again', causeText(scenario.names.causes[p.cause])));
  if (m.kind === 'dropped' || m.kind === 'lost' || m.kind === 'acted') parts.push('– ' + fateText(p, scenario));
  if (m.kind === 'sack' || m.kind === 'dsack') parts.push(`– ${m.kind.toUpperCase()} ${m.from}:${m.to}`);
  return parts.join(' ');
}

/** @param {Packet} p */
function packetText(p) {
  const span = p.length > 0 || p.flags & (SYN | FIN) ? ` ${p.seq}:${nextSeq(p)}` : ` ${p.seq}`;
  return `${flagText(p.flags & ~(p.length ? PSH : 0))}${span}${p.length ? ` (${p.length})` : ''}${p.flags & ACK ? ` ack ${p.ack}` : ''} win ${p.window}`;
}

/** @param {Packet} p @param {any} scenario */
function fateText(p, scenario) {
  const rule = p.rule >= 0 ? ': ' + scenario.content.rules[p.rule] : '';
  const names = ['', t('arrived'), t('lost'), t('dropped')];
  return (names[p.fate] || '') + rule;
}

/** @param {SequenceMark[]} marks @param {string[]} causes */
function legend(marks, causes) {
  /** @type {Array<[string, string, string, number]>} */
  const items = [];
  const count = (/** @type {(m: SequenceMark) => boolean} */ f) => marks.filter(f).length;
  items.push(['│', '--first', t('firstSent'), count((m) => m.kind === 'segment' && m.packet.cause < 0)]);
  causes.forEach((name, i) => items.push([causeLetters[name], causeColours[name], t('again', causeText(name)), count((m) => m.kind === 'segment' && m.packet.cause === i)]));
  for (const [kind, sign, name, key] of [['ack', '▁', '--ack', 'acks'], ['sack', '┆', '--sack', 'sacks'], ['dsack', '┆', '--dsack', 'dsacks'], ['dropped', '✕', '--death', 'droppedMark'],
    ['lost', '⊗', '--death', 'lostMark'], ['acted', '◆', '--acted', 'heldMark'], ['zero', 'Z', '--rto', 'zeroWindow'], ['reset', 'RST', '--death', 'resetMark']]) {
    items.push([sign, name, t(key), count((m) => m.kind === kind)]);
  }
  return h('ul', { class: 'legend' }, items.filter((x) => x[3] > 0).map(([sign, name, text, n]) =>
    h('li', {}, h('span', { class: 'sign', 'aria-hidden': 'true', style: { color: `var(${name})` } }, sign), ` ${text} (${n})`)));
}

/** What is drawn below, on the same axis: which series are together. */
const stripGroups = [
  { key: 'cwnd', names: ['cwnd', 'ssthresh', 'in flight'], step: true },
  { key: 'rttPlot', names: ['RTT', 'srtt', 'rto', "BBR's min RTT"], step: false },
  { key: 'flight', names: ['in flight (capture)'], step: true },
  { key: 'goodput', names: ['goodput', 'pacing rate', 'delivery rate', "BBR's bandwidth"], step: true },
  { key: 'gains', names: ['pacing gain'], step: true },
  { key: 'queue', names: ['queue'], step: true },
];

const stripColours = ['--line1', '--line2', '--line3', '--line4', '--line5', '--line6'];

/**
 * The series of a connection's direction: those that were recorded, and what the packets say.
 * @param {any} scenario
 * @param {{connection: number, place: number, server: number}} view
 */
function seriesOf(scenario, view) {
  const all = scenario.content.series
    .filter((/** @type {any} */ s) => s.connection < 0 || s.connection === view.connection && Number(s.server) === view.server)
    .map((/** @type {any} */ s) => ({ ...s, times: scenario.columns[s.column + '.times'], values: scenario.columns[s.column + '.values'].map((/** @type {number} */ v) => v / s.scale) }));
  const here = scenario.packets.filter((/** @type {Packet} */ p) => p.connection === view.connection && p.place === view.place);
  const rtt = here.filter((/** @type {Packet} */ p) => p.server !== view.server && p.rtt > 0);
  const flight = here.filter((/** @type {Packet} */ p) => p.server === view.server && p.inFlight > 0);
  const of = scenario.content.places[view.place]?.name ?? '';
  if (rtt.length) all.push({ name: 'RTT', unit: 's', of, points: true, times: rtt.map((/** @type {Packet} */ p) => p.at), values: rtt.map((/** @type {Packet} */ p) => p.rtt / 1e9) });
  if (flight.length) all.push({ name: 'in flight (capture)', unit: 'bytes', of, times: flight.map((/** @type {Packet} */ p) => p.at), values: flight.map((/** @type {Packet} */ p) => p.inFlight) });
  return all;
}

/**
 * @param {any} scenario
 * @param {{connection: number, place: number, server: number}} view
 * @param {TimeAxis} axis
 */
function strips(scenario, view, axis) {
  const all = seriesOf(scenario, view);
  const figures = [];
  for (const group of stripGroups) {
    const some = all.filter((/** @type {any} */ s) => group.names.includes(s.name) && s.times.length > 0 && s.unit === all.find((/** @type {any} */ x) => group.names.includes(x.name) && x.times.length > 0).unit);
    if (some.length) figures.push(strip(group, some, axis, view, scenario));
  }
  return figures;
}

/**
 * @param {{key: string, title?: string, step: boolean}} group
 * @param {any[]} series
 * @param {TimeAxis} axis
 * @param {any} view
 * @param {any} scenario
 */
function strip(group, series, axis, view, scenario) {
  const unit = series[0].unit, title = group.title ?? t(group.key);
  const look = (/** @type {any} */ s, /** @type {number} */ i) => s.side ?? i; // of two scenarios each has one look
  const holder = h('div', { class: 'plot', role: 'img', 'aria-label': `${title}: ${series.map((s) => seriesText(s)).join('; ')}` });
  const mount = () => {
    const options = /** @type {any} */ (plotOptions(axis, holder, 165, (v) => axisValue(v, unit)));
    options.scales.y = { range: (/** @type {Plot} */ _, /** @type {number} */ min, /** @type {number} */ max) => min == null ? [0, 1] : [Math.min(0, min), max > 0 ? max * 1.08 : 1] };
    options.series = [{}, ...series.map((s, i) => ({
      label: s.name, stroke: colour(stripColours[look(s, i) % stripColours.length]), width: 1.5, spanGaps: true, dash: look(s, i) % 2 ? [6, 3] : [],
      paths: s.points ? () => null : group.step && s.name !== 'goodput' ? uPlot.paths.stepped({ align: 1 }) : undefined,
      points: { show: Boolean(s.points) || s.times.length === 1, size: look(s, i) % 2 ? 6 : 4, fill: look(s, i) % 2 ? 'transparent' : colour(stripColours[look(s, i) % stripColours.length]) },
    }))];
    options.hooks = { drawClear: [(/** @type {Plot} */ u) => drawBands(u, scenario, view)], draw: [(/** @type {Plot} */ u) => drawSteps(u, scenario)] };
    const sorted = series.map((s) => {
      const order = s.times.map((/** @type {number} */ _, /** @type {number} */ i) => i).sort((/** @type {number} */ a, /** @type {number} */ b) => s.times[a] - s.times[b]);
      return [order.map((/** @type {number} */ i) => s.times[i] / 1e9), order.map((/** @type {number} */ i) => s.values[i])];
    });
    makePlot(axis, options, uPlot.join(sorted), holder);
  };
  return { mount, element: h('figure', { class: 'figure strip' }, h('figcaption', {}, title + (unit && unit !== 's' && unit !== 'bit/s' ? ` (${seriesName(unit)})` : '')), holder,
    h('ul', { class: 'legend' }, series.map((s, i) => h('li', {}, h('span', { class: 'sign', 'aria-hidden': 'true', style: { color: `var(${stripColours[look(s, i) % stripColours.length]})` } }, s.points ? look(s, i) % 2 ? '○' : '•' : look(s, i) % 2 ? '╌' : '─'), ' ', seriesText(s)))),
    tableBehind(t('table'), [t('time'), ...series.map((s) => `${seriesName(s.name)} (${s.of})`)], () => {
      const rows = series.flatMap((s, k) => s.times.map((/** @type {number} */ at, /** @type {number} */ i) => ({ at, k, v: s.values[i] }))).sort((a, b) => a.at - b.at);
      return rows.map(({ at, k, v }) => [moment(at), ...series.map((_, i) => i === k ? quantity(v, unit) : '')]);
    })) };
}

/** @param {any} s */
function seriesText(s) {
  const low = s.values.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.min(a, b), Infinity);
  const high = s.values.reduce((/** @type {number} */ a, /** @type {number} */ b) => Math.max(a, b), -Infinity);
  return `${seriesName(s.name)}${s.of ? ` (${s.of})` : ''}: ${quantity(low, s.unit)} – ${quantity(high, s.unit)}`;
}
