// Starts the page, and draws what the URL's hash says.

/** @type {any} */
let overview = null;
/** @type {Map<string, Promise<any>>} what is unpacked, by the names of blocks */
const unpacked = new Map();

/**
 * What a block has, once it is asked for; null if there is none.
 * @param {string} id
 * @param {(bytes: Uint8Array) => any} parse
 */
function blockOf(id, parse) {
  let one = unpacked.get(id);
  if (!one) {
    const element = document.getElementById(id);
    one = element ? unpack((element.textContent || '').trim()).then(parse) : Promise.resolve(null);
    unpacked.set(id, one);
  }
  return one;
}

/** @param {number} n */
async function scenarioOf(n) {
  const [bundle, place] = overview.places[n];
  const [some, sources] = await Promise.all([blockOf('bundle' + bundle, parseJSON), blockOf('sources', parseJSON)]);
  const content = scenarioIn(some, place);
  content.source = sources[content.source];
  const names = columnNames(overview.names.columns, content);
  return blockOf('drawing' + n, (bytes) => drawn(parseDrawing(bytes, names))).then((one) => one || drawn(noDrawing(names)));

  /** @param {Drawing} d */
  function drawn(d) { return { content, columns: d.columns, packets: packetsOf(d.columns), fields: fieldsOf(content.shapes, d.decoded), names: overview.names }; }
}

/** @param {State} s */
function header(s) {
  const pick = (/** @type {string} */ key, /** @type {Array<[string, string]>} */ options, /** @type {string} */ now) => h('label', {}, t(key === 'lang' ? 'language' : 'theme'), ' ',
    h('select', { id: key, onchange: (/** @type {Event} */ e) => setState({ [key]: /** @type {HTMLSelectElement} */ (e.target).value }) }, options.map(([v, text]) => h('option', { value: v, selected: v === now, lang: key === 'lang' ? v : undefined }, text))));
  return h('header', {}, h('a', { class: 'brand', href: formatState({ lang: s.lang || '', theme: s.theme || '' }) }, t('title')), h('div', { class: 'controls' },
    pick('lang', [['en', 'English'], ['zh', '简体中文']], currentLanguage), pick('theme', [['', t('auto')], ['light', t('light')], ['dark', t('dark')]], s.theme || ''),
    h('button', { type: 'button', onclick: () => print() }, t('print'))));
}

let lastPage = '';
let drawing = 0;
/** @type {any} */
let shownScenario = null;

async function draw() {
  const mine = ++drawing;
  delete document.documentElement.dataset.page;
  const s = state();
  currentLanguage = s.lang || (navigator.language?.startsWith('zh') ? 'zh' : 'en');
  document.documentElement.lang = currentLanguage === 'zh' ? 'zh-Hans' : 'en';
  if (s.theme) document.documentElement.dataset.theme = s.theme;
  else delete document.documentElement.dataset.theme;
  const app = /** @type {HTMLElement} */ (document.getElementById('app'));
  const alone = overview.kind === 'captures' && overview.entries.length === 1;
  const index = s.s === undefined && alone ? 0 : s.s === undefined ? -1 : Number(s.s);
  const entry = overview.entries[index];
  const { p: packet, z: zoom, unfold, q, ...rest } = s;
  const page = JSON.stringify(rest) + (entry ? '' : q || '');
  if (page !== lastPage) {
    const focus = document.activeElement?.id;
    if (!entry) {
      document.title = t('title');
      shownScenario = null;
      app.replaceChildren(header(s), overviewPage(overview, s));
    } else {
      const scenario = await scenarioOf(entry.block);
      if (mine !== drawing) return;
      document.title = `${entry.scenario} – ${t('title')}`;
      const other = s.with === undefined ? undefined : overview.entries[Number(s.with)];
      const beside = other && other !== entry ? await scenarioOf(other.block) : null;
      if (mine !== drawing) return;
      const { main, mounted } = beside ? comparePage(overview, [entry, other], [scenario, beside], s) : scenarioPage(overview, entry, scenario, s);
      app.replaceChildren(header(s), main);
      mounted();
      shownScenario = beside ? null : scenario;
      if (lastPage === '' || !lastPage.includes(`"s":"${index}"`)) scrollTo(0, 0);
    }
    lastPage = page;
    if (focus) document.getElementById(focus)?.focus();
  }
  showPacket(s);
  Object.assign(document.documentElement.dataset, { ready: String(drawing), page: entry ? String(index) : 'overview', beside: entry && s.with ? s.with : '' }); // for tests
}

/** @type {Element | null} who opened the packet */
let openedFrom = null;

/** @param {State} s */
function showPacket(s) {
  const old = document.getElementById('packet');
  if (!shownScenario || s.p === undefined) {
    document.body.classList.remove('has-packet');
    if (!old) return;
    old.remove();
    if (openedFrom instanceof HTMLElement || openedFrom instanceof SVGElement) openedFrom.focus();
    openedFrom = null;
    return;
  }
  const p = shownScenario.packets[Number(s.p)];
  if (!p) return;
  if (!old) openedFrom = document.activeElement;
  const panel = packetPanel(shownScenario, p, () => setState({ p: undefined }));
  if (old) old.replaceWith(panel);
  else document.querySelector('main')?.append(panel);
  document.body.classList.add('has-packet');
  for (const g of document.querySelectorAll('.arrow.chosen')) g.classList.remove('chosen');
  document.querySelector(`.arrow[data-packet="${p.index}"]`)?.classList.add('chosen');
  panel.focus({ preventScroll: innerWidth >= 900 });
}

async function start() {
  const app = /** @type {HTMLElement} */ (document.getElementById('app'));
  if (typeof DecompressionStream === 'undefined') {
    app.textContent = t('tooOld');
    return;
  }
  try {
    overview = await blockOf('overview', parseJSON);
    await draw();
    addEventListener('hashchange', draw);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { lastPage = ''; draw(); });
  } catch (error) {
    app.replaceChildren(h('p', { class: 'failed' }, String(error)));
    throw error;
  }
}

if (typeof document !== 'undefined') start();
