// Names and messages enter the page as text, never as HTML.
const drop = document.getElementById('drop');
const input = document.getElementById('file');
const state = document.getElementById('state');
const result = document.getElementById('result');
let latest = 0;
let shown = null;

const element = (kind, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(kind), properties);
  node.append(...children);
  return node;
};

const figure = (source, alt, caption) =>
  element('figure', {}, element('img', {src: source, alt}), element('figcaption', {textContent: caption}));

const legend = (task) => element('ul', {className: 'legend'}, ...task.legend.map(({name, colour, percent}) => {
  const swatch = element('span', {className: 'swatch'});
  swatch.style.background = colour;
  return element('li', {}, swatch, `${name} ${percent.toFixed(1)} %`);
}));

const tell = (text, wrong) => {
  state.textContent = text;
  state.className = wrong ? 'note' : '';
};

async function segment(file) {
  const turn = ++latest;
  result.replaceChildren();
  const limit = Number(input.dataset.limit);
  if (file.size > limit) return tell(`${file.name}: this file is too large: at most ${limit >> 20} MB`, true);
  tell(`Segmenting ${file.name} …`);
  try {
    const answer = await fetch('/segment', {method: 'POST', body: file});
    const found = await answer.json();
    if (turn !== latest) return;
    if (!answer.ok) return tell(`${file.name}: ${found.error}`, true);
    if (shown) URL.revokeObjectURL(shown);
    shown = URL.createObjectURL(file);
    tell(`${file.name}: ${found.width} x ${found.height} pixels in ${found.seconds.toFixed(2)} s`);
    result.replaceChildren(...found.tasks.map((task) => {
      const title = found.tasks.length > 1 ? `segmentation: ${task.name}` : 'segmentation';
      return element('section', {}, element('div', {className: 'result'}, figure(found.photo ?? shown, 'Your photograph', 'photo'),
        figure(task.overlay, `Your photograph under its classes: ${task.says}`, title)), legend(task));
    }));
  } catch {
    if (turn === latest) tell(`${file.name}: no answer; is the program still running?`, true);
  }
}

input.addEventListener('change', () => { if (input.files[0]) segment(input.files[0]); });
for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
drop.addEventListener('dragover', () => drop.classList.add('over'));
drop.addEventListener('dragleave', () => drop.classList.remove('over'));
document.addEventListener('drop', (event) => {
  drop.classList.remove('over');
  if (event.dataTransfer.files[0]) segment(event.dataTransfer.files[0]);
});
