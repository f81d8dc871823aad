// Each slider shows one stage of the pictures in its part of the page; without this script all stages are shown.
for (const slider of document.querySelectorAll('input[type=range]')) {
  const part = slider.closest('section');
  const name = slider.parentElement.querySelector('output');
  const names = JSON.parse(slider.dataset.names);
  const show = () => {
    name.textContent = names[slider.value];
    slider.setAttribute('aria-valuetext', names[slider.value]);
    for (const stage of part.querySelectorAll('.stage')) stage.hidden = stage.dataset.stage !== slider.value;
  };
  slider.addEventListener('input', show);
  slider.closest('.stages').hidden = false;
  show();
}
