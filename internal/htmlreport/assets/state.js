// What is shown is in the hash of the URL, so that a view can be linked to, and the browser's back leads to where one was.

/** @typedef {Record<string, string>} State */

/**
 * @param {string} hash
 * @returns {State}
 */
function parseState(hash) {
  /** @type {State} */
  const state = {};
  for (const [key, value] of new URLSearchParams(hash.replace(/^#/, ''))) state[key] = value;
  return state;
}

/**
 * @param {State} state
 * @returns {string}
 */
function formatState(state) {
  const pairs = Object.entries(state).filter(([, value]) => value !== undefined && value !== '');
  return '#' + new URLSearchParams(pairs).toString();
}

/** @returns {State} */
function state() { return parseState(location.hash); }

/**
 * @param {Record<string, string | number | undefined>} changes
 * @param {boolean} [quietly] without a place to come back to, and without drawing all anew
 */
function setState(changes, quietly) {
  const next = state();
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined || value === '') delete next[key];
    else next[key] = String(value);
  }
  const hash = formatState(next);
  if (hash === location.hash || hash === '#' && location.hash === '') return;
  if (quietly) history.replaceState(null, '', hash);
  else location.hash = hash;
}
