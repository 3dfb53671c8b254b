// The chat in the browser: joins the rooms by WebSocket, shows what arrives, and sends by an ordinary form, which PHP
// publishes. Nothing that arrives is ever made HTML of: it may come from anybody.
import {connect} from './rr-py-ws-client.js';

const MAX_OLD = 50;  // messages that were there before us
const MAX_SHOWN = 200;  // messages of a room
const FILE = /^\/files\/[0-9a-f]{32}\.(png|jpg|gif|webp|pdf|txt)$/;
const PICTURE = /\.(png|jpg|gif|webp)$/;

const byId = (id) => document.getElementById(id);
const composer = byId('composer');
const rooms = new Map();  // topic -> room

for (const radio of document.querySelectorAll('#rooms input')) {
  const log = document.createElement('div');
  log.className = 'log';
  log.tabIndex = 0;  // a keyboard can scroll it
  log.setAttribute('role', 'log');
  log.setAttribute('aria-label', `Messages in ${radio.dataset.name}`);
  byId('logs').append(log);
  const note = radio.parentElement.querySelector('.note');
  rooms.set(radio.value, {name: radio.dataset.name, radio, log, note, unread: 0, refused: false});
  radio.addEventListener('change', showRoom);
}

// ---- What arrives

const client = connect('/ws');
let wasLost = false;

for (const [topic, room] of rooms) {
  // Of a server that keeps histories: the newest messages first, and after a lost connection what was missed.
  room.topic = client.topic(topic, {history: {last: MAX_OLD}, decode: read});
  room.topic.on('message', (message) => arrived(room, message));
  room.topic.on('joined', settled);
  room.topic.on('refused', settled);
  room.topic.on('lost', ({reason}) => {
    if (reason === 'gap') notice(room, 'Some messages were lost on the way.');
    else if (wasLost) notice(room, 'Connected again. What was said meanwhile is not shown.');
  });
}

client.on('state', ({state, reason, delay}) => {
  if (state === 'waiting') {
    wasLost = true;
    showState('lost', delay ? `Connection lost, trying again in ${Math.ceil(delay / 1000)} s` : 'Connection lost');
  } else if (state === 'closed') {
    showState('lost', `Not connected: ${reason}`);
  }
});

// The client joins rooms together, and those that may be joined even though one is refused.
function settled() {
  const all = [...rooms.values()];
  for (const room of all) room.refused = room.topic.state === 'refused';
  showRoom();
  if (all.some(({topic}) => topic.state === 'joining')) return;
  wasLost = false;
  showState('live', 'Connected');
}

function arrived(room, message) {
  const isAtEnd = room.log.scrollHeight - room.log.scrollTop - room.log.clientHeight < 60;
  const own = message.sender === composer.elements.sender.value;
  room.log.append(element('article', {className: own ? 'message own' : 'message'}, [
    avatar(message.name),
    element('p', {className: 'who', textContent: message.name}, [time(message.time)]),
    element('div', {className: 'what'}, [
      ...(message.text ? [element('p', {textContent: message.text})] : []),
      ...attachment(message.file, room),
    ]),
  ]));
  tidy(room, isAtEnd || own);
  if (room !== chosen()) {
    room.unread++;
    showNotes();
  }
}

// A payload is any text. This chat publishes JSON; what is published by hand is shown as it is.
function read(payload) {
  let found;
  try {
    found = JSON.parse(payload);
  } catch { /* not JSON */ }
  if (typeof found !== 'object' || found === null) return {name: 'Server', text: String(payload)};
  const text = (value) => typeof value === 'string' ? value : '';
  return {...found, name: text(found.name) || 'Somebody', text: text(found.text)};
}

// ---- What is seen

function element(tag, properties, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function avatar(name) {
  const made = element('span', {className: 'avatar', textContent: [...name][0].toUpperCase()});
  made.setAttribute('aria-hidden', 'true');
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 200);
  made.style.setProperty('--hue', hue);
  return made;
}

function time(seconds) {
  const date = Number.isFinite(seconds) ? new Date(1000 * seconds) : new Date();
  const text = date.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
  return element('time', {dateTime: date.toISOString(), textContent: text});
}

function attachment(file, room) {
  if (!FILE.test(file?.url)) return [];
  const name = String(file.name);
  const link = element('a', {href: file.url, target: '_blank', rel: 'noopener'});
  if (PICTURE.test(file.url)) {
    const picture = element('img', {src: file.url, alt: `Picture: ${name}`});
    picture.onload = () => { if (picture.closest('.message') === room.log.lastElementChild) scrollToEnd(room); };
    link.append(picture);
  }
  link.append(`${name} (${Math.max(1, Math.round(file.size / 1024))} kB)`);
  return [link];
}

function notice(room, text) {
  const isAtEnd = room.log.scrollHeight - room.log.scrollTop - room.log.clientHeight < 60;
  room.log.append(element('p', {className: 'notice', textContent: text}));
  tidy(room, isAtEnd);
}

function tidy(room, follow) {
  while (room.log.childElementCount > MAX_SHOWN) room.log.firstElementChild.remove();
  if (follow) scrollToEnd(room);
}

function scrollToEnd(room) {
  room.log.scrollTop = room.log.scrollHeight;
}

function chosen() {
  return rooms.get(composer.elements.topic.value);
}

function showRoom() {
  const room = chosen();
  room.unread = 0;
  byId('room').textContent = room.name;
  for (const one of rooms.values()) one.log.hidden = one !== room || one.refused;
  byId('staff').hidden = room.radio.value !== 'chat.staff';
  byId('staff').open ||= room.refused;
  const why = room.refused ? `You may not enter ${room.name}: guests are refused there. Staff can sign in below.` : '';
  if (byId('refused').textContent !== why) byId('refused').textContent = why;  // said once
  showNotes();
}

function showNotes() {
  for (const {note, unread, refused} of rooms.values()) {
    note.textContent = refused ? 'closed' : unread ? `${unread} new` : '';
    note.classList.toggle('unread', unread > 0 && !refused);
  }
}

function showState(state, text) {
  const shown = byId('state');
  if (shown.textContent === text) return;
  shown.dataset.state = state;
  shown.textContent = text;
}

// ---- Sending

// Sends a form as the browser would, but stays on the page. Returns whether it was carried out.
async function submit(form, button, problem) {
  if (button.getAttribute('aria-disabled') === 'true') return false;
  problem.textContent = '';
  button.setAttribute('aria-disabled', 'true');  // not `disabled`, which would lose the focus
  try {
    const answer = await fetch(button.getAttribute('formaction') ?? form.getAttribute('action'), {
      method: 'POST',
      body: form.enctype === 'multipart/form-data' ? new FormData(form) : new URLSearchParams(new FormData(form)),
      headers: {Accept: 'application/json'},
      signal: AbortSignal.timeout(60000),
    });
    if (!answer.ok) problem.textContent = await reason(answer);
    return answer.ok;
  } catch {
    problem.textContent = 'Not sent: the server cannot be reached. Nothing is lost, try again.';
    return false;
  } finally {
    button.removeAttribute('aria-disabled');
  }
}

async function reason(answer) {
  const error = await answer.json().then(({error}) => error, () => '');
  if (error) return error;
  return answer.status === 413 ? 'Not sent: this is too large.' : `Not sent: the server answered ${answer.status}.`;
}

function fileProblem() {
  const {files, dataset: {max}} = byId('file');
  const tooLarge = files.length > 0 && files[0].size > Number(max);
  byId('file').setAttribute('aria-invalid', String(tooLarge));
  return tooLarge ? `${files[0].name} is too large: at most ${max / 1024 / 1024} MB.` : '';
}

composer.addEventListener('submit', async (event) => {
  event.preventDefault();
  const problem = byId('problem');
  problem.textContent = fileProblem();
  if (problem.textContent) return;
  if (!await submit(composer, composer.querySelector('.send'), problem)) return;
  byId('text').value = byId('file').value = '';
  byId('text').focus();
});

byId('file').addEventListener('change', () => { byId('problem').textContent = fileProblem(); });

byId('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});

byId('session').addEventListener('submit', async (event) => {
  event.preventDefault();
  if (!await submit(event.target, event.submitter, byId('session-problem'))) return;
  event.target.reset();
  client.reconnect();  // PHP sees the cookies of the handshake, so another person needs another connection
});

// ---- Who I am: a name that is remembered, and a number for this page by which it knows its own messages

composer.elements.sender.value = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16)).join('');
try {
  byId('name').value = localStorage.getItem('name') ?? '';
  byId('name').addEventListener('change', () => localStorage.setItem('name', byId('name').value));
} catch { /* the browser keeps nothing */ }

byId('keys').hidden = false;
showState('connecting', 'Connecting …');
showRoom();
