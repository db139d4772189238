// Makes elements. Text becomes text: nothing here parses HTML.

const svgNamespace = 'http://www.w3.org/2000/svg';

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {Element} element
 * @param {Record<string, any>} attributes
 * @param {Array<Child | Child[] | Child[][]>} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'style') for (const [k, v] of Object.entries(value)) /** @type {any} */ (element).style.setProperty(k, v);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children.flat(2)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[] | Child[][])} children
 * @returns {HTMLElement}
 */
function h(tag, attributes = {}, ...children) {
  return /** @type {HTMLElement} */ (fill(document.createElement(tag), attributes, children));
}

/**
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[] | Child[][])} children
 */
function svg(tag, attributes = {}, ...children) { return fill(document.createElementNS(svgNamespace, tag), attributes, children); }

/** Tells who cannot see it. @param {string} text */
function say(text) {
  const live = document.getElementById('live');
  if (live) live.textContent = text;
}

/**
 * A command, and a button that copies it.
 * @param {string} command
 */
function commandLine(command) {
  const button = h('button', { type: 'button', class: 'copy', 'aria-label': t('copy') + ': ' + command }, t('copy'));
  button.addEventListener('click', async () => {
    let copied = true;
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      const area = /** @type {HTMLTextAreaElement} */ (h('textarea', { class: 'unseen' }));
      area.value = command;
      document.body.append(area);
      area.select();
      copied = document.execCommand('copy');
      area.remove();
    }
    button.textContent = copied ? t('copied') : t('notCopied');
    say(button.textContent || '');
    setTimeout(() => { button.textContent = t('copy'); }, 2000);
  });
  return h('span', { class: 'command' }, h('code', {}, command), button);
}

/**
 * A table that can be unfolded. Rows are made when it is.
 * @param {string} summary
 * @param {string[]} head
 * @param {() => Array<Array<Child>>} rows
 * @param {number} [most]
 */
function tableBehind(summary, head, rows, most = 1000) {
  const details = h('details', { class: 'behind' }, h('summary', {}, summary));
  details.addEventListener('toggle', () => {
    if (details.childElementCount > 1) return;
    const all = rows();
    details.append(table(head, all.slice(0, most)));
    if (all.length > most) details.append(h('p', { class: 'note' }, t('rowsLeftOut', all.length - most)));
  });
  return details;
}

/**
 * @param {string[]} head
 * @param {Array<Array<Child>>} rows
 */
function table(head, rows) {
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': head.join(', ') }, h('table', {},
    h('thead', {}, h('tr', {}, head.map((name) => h('th', { scope: 'col' }, name)))),
    h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell, i) => h('td', { 'data-head': head[i] || undefined }, cell)))))));
}
