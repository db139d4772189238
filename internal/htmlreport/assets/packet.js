// One packet: what is known of it, its fields, and links to its neighbours.

/**
 * Packets that a person goes to from one.
 * @param {Packet[]} packets
 * @param {Packet} p
 */
function neighbours(packets, p) {
  const same = packets.filter((q) => q.connection === p.connection && q.place === p.place);
  const at = same.indexOf(p);
  const sent = p.sent >= 0 ? p.sent : p.index;
  const elsewhere = packets.filter((q) => q !== p && (q.index === sent || q.sent === sent));
  const covers = (/** @type {Packet} */ q) => q.server === p.server && q !== p && nextSeq(q) > q.seq && q.seq < nextSeq(p) && nextSeq(q) > p.seq;
  const first = p.cause >= 0 ? same.slice(0, at).filter(covers) : [];
  const again = nextSeq(p) > p.seq ? same.slice(at + 1).filter((q) => q.cause >= 0 && covers(q)) : [];
  return { previous: same[at - 1], next: same[at + 1], elsewhere, before: first, again };
}

/**
 * @param {any} scenario
 * @param {Packet} p
 * @param {() => void} close
 */
function packetPanel(scenario, p, close) {
  const { content, names } = scenario;
  const place = content.places[p.place], capture = content.captures[place.capture];
  const file = [content.folder, capture.File].filter(Boolean).join('/');
  const near = neighbours(scenario.packets, p);
  const link = (/** @type {Packet} */ q, /** @type {string} */ text) => h('a', { href: formatState({ ...state(), p: String(q.index) }) }, text);
  const title = `${t('packet')} ${p.frame}`;
  const rows = /** @type {Array<[string, Child | Child[] | Child[][]]>} */ ([
    [t('where'), `${place.name}, ${capture.File}`],
    [t('time'), moment(p.at)],
    [t('flags'), flagText(p.flags)],
    [t('seq'), nextSeq(p) > p.seq ? `${p.seq} … ${nextSeq(p)}` : String(p.seq)],
    [t('ack'), p.flags & ACK ? String(p.ack) : ''],
    [t('length'), bytes(p.length)],
    [t('window'), bytes(p.window)],
    [p.dsack ? 'DSACK, SACK' : 'SACK', p.sack.map(([l, r]) => `${l}:${r}`).join(', ')],
    [t('inFlight'), p.inFlight ? bytes(p.inFlight) : ''],
    [t('rtt'), p.rtt ? duration(p.rtt) : ''],
    ['ECN', ['', 'ECT(1)', 'ECT(0)', 'CE'][p.ecn]],
    [t('marks'), names.marks.filter((/** @type {string} */ _, /** @type {number} */ i) => p.marks & (1 << i)).join(', ')],
    [t('cause'), p.cause >= 0 ? causeText(names.causes[p.cause]) : ''],
    [t('timer'), p.timer ? timerText(names.timers[p.timer]) : ''],
    [t('fate'), p.fate === LOST ? t('lost') : p.fate === DROPPED ? t('dropped') : p.fate === ARRIVED ? t('arrived') : p.sent >= 0 || !content.hosts?.length ? '' : t('unknown')],
    [t('rule'), p.rule >= 0 ? content.rules[p.rule] : ''],
    [t('sameAt'), near.elsewhere.map((q) => [link(q, `${content.places[q.place].name} (${moment(q.at)})`), ' '])],
    [t('sentBefore'), near.before.map((q) => [link(q, `${t('frame')} ${q.frame}`), ' '])],
    [t('sentAgainIn'), near.again.slice(0, 8).map((q) => [link(q, `${t('frame')} ${q.frame} (${causeText(names.causes[q.cause])})`), ' '])],
  ]).filter(([, value]) => Array.isArray(value) ? value.length : value);
  const headers = scenario.fields.get(p.index);
  return h('aside', { class: 'packet', id: 'packet', tabindex: '-1', 'aria-labelledby': 'packet-title', onkeydown: (/** @type {KeyboardEvent} */ e) => { if (e.key === 'Escape') close(); } },
    h('div', { class: 'bar-title' }, h('h2', { id: 'packet-title' }, title), h('button', { type: 'button', class: 'close', onclick: close }, t('close'))),
    h('p', { class: 'steps' }, near.previous && link(near.previous, '← ' + t('previous')), ' ', near.next && link(near.next, t('next') + ' →')),
    h('dl', {}, rows.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    h('h3', {}, t('fields')),
    headers
      ? headers.map((/** @type {any} */ header) => h('details', { open: header.name === 'TCP' }, h('summary', {}, header.name, h('span', { class: 'origin' }, ` ${header.source}`)),
        header.wrong ? h('p', { class: 'failed' }, header.wrong) : null,
        header.fields.length ? table([t('field'), t('bits'), t('value'), t('meaning')], header.fields.map((/** @type {any} */ f) => [f.name, f.bits, f.value, f.meaning])) : h('p', {}, bytes(Number(header.length)))))
      : h('p', {}, t('fieldsLeftOut')),
    commandLine(`tcplab decode ${shellWord(file)} --frame ${p.frame}`));
}

/** @param {string} word */
function shellWord(word) { return /^[\w./:=+-]+$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`; }
