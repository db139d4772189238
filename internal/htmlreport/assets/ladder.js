// The ladder: packets as arrows between hosts, in the order of their times, dropped ones with a cross at their end.

/**
 * @typedef {object} Arrow
 * @property {Packet} packet at its sender, or, where that was not captured, where it was seen
 * @property {Array<{column: number, at: number, packet: Packet}>} seen from the sender on
 * @property {number} from column
 * @property {number} to column
 * @property {'' | 'dropped' | 'lost'} death
 * @property {number} deathColumn where it ended
 * @property {boolean} plain there is nothing to look at
 */

/**
 * @typedef {{kind: 'arrow', arrow: Arrow} | {kind: 'fold', arrows: Arrow[], key: number}} LadderRow
 */

/**
 * Which packets are arrows, package picture says. Here they get their ends.
 * @param {Packet[]} packets
 * @param {{connection: number, path: number[], places: Array<{host: number, dropped?: boolean}>, place: number}} view path has the hosts, if they are known; place is
 *   the one that is looked at
 * @returns {Arrow[]}
 */
function arrowsOf(packets, view) {
  const last = view.path.length ? view.path.length - 1 : 1;
  /** @type {Arrow[]} */
  const arrows = [];
  /** @type {Map<number, Arrow>} */
  const bySent = new Map();
  const columnOf = (/** @type {Packet} */ p) => view.path.length ? view.path.indexOf(view.places[p.place].host) : p.server ? last : 0;
  for (const p of packets) {
    if (p.connection !== view.connection || p.begins === NEVER || p.begins === HERE && p.place !== view.place) continue;
    const never = Boolean(view.places[p.place].dropped), column = columnOf(p);
    /** @type {Arrow} */
    const arrow = { packet: p, seen: column < 0 ? [] : [{ column, at: p.at, packet: p }], from: p.server ? last : 0, to: p.server ? 0 : last,
      death: never ? 'dropped' : p.fate === LOST ? 'lost' : '', deathColumn: never ? column : -1, plain: p.plain };
    bySent.set(p.index, arrow);
    arrows.push(arrow);
  }
  for (const p of packets) {
    const arrow = p.sent >= 0 ? bySent.get(p.sent) : undefined;
    if (!arrow || p.connection !== view.connection) continue;
    const column = columnOf(p);
    if (view.places[p.place].dropped) {
      [arrow.death, arrow.deathColumn, arrow.plain] = ['dropped', column, false];
      if (p.rule >= 0) arrow.packet.rule = p.rule;
    } else if (column >= 0) {
      arrow.seen.push({ column, at: p.at, packet: p });
    }
  }
  return arrows;
}

/**
 * What stands beside the lifelines: sockets' states, and timers.
 * @typedef {{at: number, column: number, text: string, kind: 'state' | 'timer', inferred?: boolean}} Note
 */

/**
 * @param {any} scenario
 * @param {number} connection
 * @param {Arrow[]} arrows
 * @returns {Note[]}
 */
function notesOf(scenario, connection, arrows) {
  const last = Math.max(1, (scenario.content.connections[connection].path || []).length - 1);
  /** @type {Note[]} */
  const notes = tcpStates(scenario, connection).map((x) => ({ at: x.from, column: x.side ? last : 0, text: x.state, kind: 'state', inferred: x.inferred }));
  for (const a of arrows) {
    if (a.packet.timer) notes.push({ at: a.packet.at, column: a.from, text: t('timerFired', timerText(scenario.names.timers[a.packet.timer])), kind: 'timer' });
  }
  return notes.sort((a, b) => a.at - b.at);
}

/**
 * Folds long runs of arrows in which there is nothing to look at. A fold is named by the index of its first packet.
 * @param {Arrow[]} arrows
 * @param {Set<number>} open folds that are not folded
 * @param {number} wanted a packet that is to be seen, or -1
 * @returns {LadderRow[]}
 */
function foldArrows(arrows, open, wanted) {
  const long = 12, head = 4, tail = 3;
  /** @type {LadderRow[]} */
  const rows = [];
  for (let i = 0; i < arrows.length;) {
    let end = i;
    while (end < arrows.length && arrows[end].plain) end++;
    const run = arrows.slice(i, end);
    const key = run.length > long ? run[head].packet.index : -1;
    const has = run.some((a) => a.seen.some((s) => s.packet.index === wanted));
    if (run.length > long && !open.has(key) && !has) {
      run.slice(0, head).forEach((arrow) => rows.push({ kind: 'arrow', arrow }));
      rows.push({ kind: 'fold', arrows: run.slice(head, run.length - tail), key });
      run.slice(run.length - tail).forEach((arrow) => rows.push({ kind: 'arrow', arrow }));
    } else {
      run.forEach((arrow) => rows.push({ kind: 'arrow', arrow }));
    }
    if (end < arrows.length) rows.push({ kind: 'arrow', arrow: arrows[end++] });
    i = end;
  }
  return rows;
}

/**
 * Where on the page each time is: in order, with room for a label at each sending, and more where nothing happened for long.
 * @param {LadderRow[]} rows
 * @param {Note[]} [notes]
 */
function layOut(rows, notes = []) {
  /** @type {Array<{at: number, room: number, row: number, note?: Note}>} */
  const moments = notes.map((note) => ({ at: note.at, room: note.kind === 'timer' ? 17 : 24, row: note.kind === 'timer' ? -2 : Infinity, note })); // a timer is before what it has sent
  rows.forEach((row, n) => {
    if (row.kind === 'fold') {
      moments.push({ at: row.arrows[0].packet.at, room: 26, row: n });
      return;
    }
    row.arrow.seen.forEach((s, i) => moments.push({ at: s.at, room: i === 0 ? 20 : 7, row: i === 0 ? n : -1 }));
    if (row.arrow.seen.length === 0) moments.push({ at: row.arrow.packet.at, room: 20, row: n });
  });
  moments.sort((a, b) => a.at - b.at || a.row - b.row);
  const gaps = moments.slice(1).map((m, i) => m.at - moments[i].at).filter((g) => g > 0).sort((a, b) => a - b);
  const silence = Math.max(1e6, 8 * (gaps[Math.floor(gaps.length / 2)] || 0));
  /** @type {Map<number, number>} */
  const yOfTime = new Map();
  /** @type {Map<number, number>} */
  const yOfRow = new Map();
  /** @type {Array<{y: number, note: Note}>} */
  const placed = [];
  /** @type {Array<{y: number, ns: number}>} */
  const silences = [];
  let y = 30, last = moments[0]?.at ?? 0;
  for (const m of moments) {
    if (m.at - last > silence) {
      silences.push({ y: y + 15, ns: m.at - last });
      y += 30;
    }
    y += m.room;
    last = m.at;
    if (m.note) {
      placed.push({ y, note: m.note });
      continue;
    }
    if (m.row >= 0) yOfRow.set(m.row, y);
    yOfTime.set(m.at, y);
  }
  return { yOfTime, yOfRow, silences, notes: placed, height: y + 40 };
}

/**
 * @param {any} scenario
 * @param {{connection: number, place: number, server: number}} view
 * @param {(p: Packet) => void} open
 */
function ladder(scenario, view, open) {
  const connection = scenario.content.connections[view.connection];
  const path = connection.path || [];
  const names = path.length ? path.map((/** @type {number} */ i) => scenario.content.hosts[i]) : [connection.client, connection.server];
  const arrows = arrowsOf(scenario.packets, { connection: view.connection, path, places: scenario.content.places, place: view.place });
  const holder = h('div', { class: 'ladder scroll', tabindex: '0', role: 'region', 'aria-label': t('ladder') });
  const opened = new Set((state().unfold || '').split('.').filter(Boolean).map(Number));
  let count = 120, first = 0, total = 0;
  const notes = notesOf(scenario, view.connection, arrows);
  const wanted = state().p === undefined ? -1 : Number(state().p);

  function redraw() {
    const rows = foldArrows(arrows, opened, wanted);
    total = rows.length;
    if (wanted >= 0 && first === 0) {
      const at = rows.findIndex((r) => r.kind === 'arrow' && r.arrow.seen.some((s) => s.packet.index === wanted));
      if (at > count) first = at - 20;
    }
    const some = rows.slice(first, first + count);
    holder.replaceChildren(picture(some));
    const buttons = [];
    if (first > 0) buttons.push(h('button', { type: 'button', onclick: () => { first = Math.max(0, first - count); redraw(); } }, '↑ ' + t('previous')));
    if (rows.length > first + count) {
      buttons.push(h('button', { type: 'button', onclick: () => { count += 200; redraw(); } }, t('more', Math.min(200, rows.length - first - count))));
    }
    if (opened.size) buttons.push(h('button', { type: 'button', onclick: () => { opened.clear(); remember(); redraw(); } }, t('fold')));
    controls.replaceChildren(...buttons);
  }
  function remember() { setState({ unfold: [...opened].join('.') }, true); }

  /** Of notes those between what is drawn. @param {LadderRow[]} rows */
  function notesWithin(rows) {
    const at = (/** @type {LadderRow | undefined} */ row) => row && (row.kind === 'fold' ? row.arrows[0] : row.arrow).packet.at;
    const from = first === 0 ? -Infinity : at(rows[0]) ?? 0, to = first + rows.length >= total ? Infinity : at(rows[rows.length - 1]) ?? 0;
    return notes.filter((n) => n.at >= from && n.at <= to);
  }

  /** @param {LadderRow[]} rows */
  function picture(rows) {
    const narrow = innerWidth < 700;
    const width = Math.max(narrow ? 330 : 620, Math.min(980, (holder.parentElement?.clientWidth || 900) - 4));
    const left = narrow ? 62 : 110, right = narrow ? 24 : 60;
    const x = (/** @type {number} */ column) => left + (width - left - right) * (names.length > 1 ? column / (names.length - 1) : 0);
    const lay = layOut(rows, notesWithin(rows));
    const picture = svg('svg', { viewBox: `0 0 ${width} ${lay.height}`, width, height: lay.height, role: 'group', 'aria-label': t('ladder') });
    names.forEach((/** @type {string} */ name, /** @type {number} */ i) => {
      const anchor = names.length === 1 ? 'middle' : i === 0 ? (narrow ? 'start' : 'middle') : i === names.length - 1 ? (narrow ? 'end' : 'middle') : 'middle';
      const at = anchor === 'end' ? width - 2 : anchor === 'start' ? 2 : x(i);
      picture.append(svg('line', { class: 'lifeline', x1: x(i), x2: x(i), y1: 26, y2: lay.height - 8 }), svg('text', { class: 'host', x: at, y: 16, 'text-anchor': anchor }, name));
    });
    for (const s of lay.silences) {
      picture.append(svg('text', { class: 'silence', x: (x(0) + x(names.length - 1)) / 2, y: s.y + 8, 'text-anchor': 'middle' }, `⋯ ${duration(s.ns)} ⋯`));
    }
    for (const { y, note } of lay.notes) {
      const right = note.column > 0, at = x(note.column);
      picture.append(svg('g', { class: 'note ' + note.kind + (note.inferred ? ' inferred' : ''), role: 'img', 'aria-label': `${names[note.column] ?? ''}, ${moment(note.at)}: ${note.text}${note.inferred ? ` (${t('inferred')})` : ''}` },
        note.kind === 'timer' ? svg('path', { class: 'clock', d: `M${at},${y - 11} a6,6 0 1 0 0.1,0 z M${at},${y - 9} v4 l3,2` }) : svg('rect', { x: at - 4, y: y - 9, width: 8, height: 8 }),
        svg('text', { x: at + (right ? -10 : 10), y: y - 1, 'text-anchor': right ? 'end' : 'start' }, note.text)));
    }
    const labels = svg('g', { class: 'labels', 'aria-hidden': 'true' }); // above all lines; the arrows have them as their names
    rows.forEach((row, n) => {
      if (row.kind === 'arrow') picture.append(arrowPicture(row.arrow, lay.yOfRow.get(n) || 0, lay.yOfTime, x, narrow, labels));
    });
    labels.append(...labels.querySelectorAll('.death')); // above all labels
    picture.append(labels);
    rows.forEach((row, n) => {
      if (row.kind === 'fold') picture.append(foldRow(row, lay.yOfRow.get(n) || 0, x(0), x(names.length - 1)));
    });
    return picture;
  }

  /** @param {{arrows: Arrow[], key: number}} row @param {number} y @param {number} x0 @param {number} x1 */
  function foldRow(row, y, x0, x1) {
    const unfold = () => { opened.add(row.key); remember(); redraw(); };
    const text = `${t('folded', row.arrows.length)} – ${t('unfold')}`;
    return svg('g', { class: 'fold', role: 'button', tabindex: '0', 'aria-label': text, onclick: unfold, onkeydown: onEnter(unfold) },
      svg('rect', { x: x0 + 4, y: y - 16, width: x1 - x0 - 8, height: 22, rx: 4 }), svg('text', { x: (x0 + x1) / 2, y: y - 1, 'text-anchor': 'middle' }, '⇕ ' + text));
  }

  /**
   * @param {Arrow} a
   * @param {number} y
   * @param {Map<number, number>} yOfTime
   * @param {(column: number) => number} x
   * @param {boolean} narrow
   * @param {Element} labels
   */
  function arrowPicture(a, y, yOfTime, x, narrow, labels) {
    const p = a.packet, step = a.to > a.from ? 1 : -1;
    const cause = p.cause >= 0 ? scenario.names.causes[p.cause] : '';
    const points = a.seen.map((s) => [x(s.column), yOfTime.get(s.at) ?? y]);
    if (points.length === 0) points.push([x(a.from), y]);
    let end = points[points.length - 1];
    let unseen = false;
    if (a.death) {
      const at = a.death === 'dropped' && a.deathColumn >= 0 ? x(a.deathColumn) + step * 12 : (end[0] + x(Math.min(names.length - 1, Math.max(0, (a.seen[a.seen.length - 1]?.column ?? a.from) + step)))) / 2;
      end = [at, end[1] + 8];
      points.push(end);
    } else if (a.seen.length && a.seen[a.seen.length - 1].column !== a.to) {
      end = [x(a.to), end[1] + 10];
      points.push(end);
      unseen = true;
    } else if (points.length === 1) { // only its arrival is known
      points.unshift([x(a.from), y - 10]);
      unseen = true;
    }
    const before = points[points.length - 2] || points[0];
    const angle = Math.atan2(end[1] - before[1], end[0] - before[0]);
    const tip = (/** @type {number} */ turn) => `${end[0] - 9 * Math.cos(angle + turn)},${end[1] - 9 * Math.sin(angle + turn)}`;
    const what = narrow ? `${flagText(p.flags & ~(PSH | ACK))} ${p.length ? `${p.seq}:${nextSeq(p)}` : p.flags & ACK ? `ack ${p.ack}` : ''}`.trim() : packetText(p);
    const note = [p.timer ? t('timerFired', timerText(scenario.names.timers[p.timer])) : '', cause && t('again', causeText(cause)), a.death === 'lost' ? t('lostMark') : '', p.rule >= 0 ? scenario.content.rules[p.rule] : ''].filter(Boolean).join('; ');
    const shown = [cause && t('again', causeText(cause)), a.death === 'lost' ? t('lostMark') : '', p.rule >= 0 ? scenario.content.rules[p.rule] : ''].filter(Boolean).join('; '); // the timer has a note of its own
    const label = shown && !narrow ? `${what} – ${shown}` : what;
    const toRight = step > 0;
    const label0 = points[0];
    const openIt = () => open(p);
    const g = svg('g', { class: `arrow ${a.death || ''} ${cause ? 'again' : ''} ${unseen ? 'unseen-end' : ''} ${p.index === wanted || a.seen.some((s) => s.packet.index === wanted) ? 'chosen' : ''}`, role: 'button', tabindex: '0',
      'data-packet': p.index, 'aria-label': `${t('frame')} ${p.frame}, ${moment(p.at)}: ${packetText(p)}${note ? ', ' + note : ''}`, onclick: openIt, onkeydown: onEnter(openIt) },
    svg('polyline', { class: 'hit', points: points.map((q) => q.join()).join(' ') }),
    svg('polyline', { class: 'line', points: points.map((q) => q.join()).join(' '), style: cause ? { stroke: `var(${causeColours[cause]})` } : {} }),
    !a.death && svg('polygon', { class: 'head', points: `${end[0]},${end[1]} ${tip(0.35)} ${tip(-0.35)}`, style: cause ? { fill: `var(${causeColours[cause]})` } : {} }));
    labels.append(svg('text', { class: a.death, x: label0[0] + (toRight ? 8 : -8), y: label0[1] - 4, 'text-anchor': toRight ? 'start' : 'end' }, label),
    svg('text', { class: 'time', x: 2, y: y + 3 }, narrow ? duration(p.at) : shortMoment(p.at)));
    if (a.death) labels.append(svg('path', { class: 'death', d: `M${end[0] - 6},${end[1] - 6} l12,12 m0,-12 l-12,12` }));
    return g;
  }

  const controls = h('div', { class: 'controls' });
  let drawnFor = 0;
  new ResizeObserver(() => { // when it is shown first, too
    if (Math.abs(holder.clientWidth - drawnFor) < 10) return;
    drawnFor = holder.clientWidth;
    requestAnimationFrame(redraw);
  }).observe(holder);
  const inferred = notes.some((n) => n.inferred);
  return h('div', {}, h('p', { class: 'help' }, t('ladderHelp'), ' ', notes.length ? t('notesHelp') : '', ' ', inferred ? t('inferredHelp') : ''), holder, controls);
}

/** @param {() => void} act */
function onEnter(act) {
  return (/** @type {KeyboardEvent} */ e) => {
    if (e.key !== 'Enter' && e.key !== ' ') return;
    e.preventDefault();
    act();
  };
}
