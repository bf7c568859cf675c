'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const stage = $('stage');
  const sides = {
    left: { select: $('left'), image: $('left-image'), tag: $('left-tag') },
    right: { select: $('right'), image: $('right-image'), tag: $('right-tag') },
  };
  const items = [...document.querySelectorAll('.item')];
  const truth = data.columns.length - 1;
  let order = data.images.map((_, index) => index);
  let current = order[0];
  // Of the picture on the stage: size of a pixel on the screen, and where its corner is.
  const view = { fitted: true, scale: 1, x: 0, y: 0 };
  let split = 50;

  // ---- numbers -------------------------------------------------------------------------------

  // What JSON has no number for is written as text: "Infinity", "-Infinity", "NaN".
  const number = (value) => (value === null ? NaN : Number(value));
  const format = (value, digits) => {
    if (Number.isNaN(value)) return '';
    return Number.isFinite(value) ? value.toFixed(digits) : '∞';
  };
  const formatGain = (value) => {
    if (Number.isNaN(value)) return '';
    if (!Number.isFinite(value)) return value > 0 ? '+∞' : '−∞';
    const text = Math.abs(value).toFixed(2);
    return Number(text) === 0 ? '0.00' : (value > 0 ? '+' : '−') + text;
  };
  const direction = (value) => (value >= 0.005 ? 'up' : value <= -0.005 ? 'down' : '');

  function cell(row, kind, text, name) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (name) made.className = name;
    row.append(made);
  }

  function showNumbers(image) {
    const table = $('numbers');
    table.replaceChildren();
    if (image.PSNR.every((value) => value === null)) return; // nothing was measured
    const first = data.pair ? data.columns.indexOf(data.pair[0]) : -1;
    const head = document.createElement('tr');
    const titles = ['Column', 'PSNR (dB)', 'SSIM'];
    if (data.pair) titles.push(`Gain over ${data.pair[0]} (dB)`);
    titles.forEach((title) => cell(head, 'th', title));
    table.createTHead().append(head);
    const body = table.createTBody();
    const psnr = image.PSNR.map(number);
    const ssim = image.SSIM.map(number);
    const best = (values) => Math.max(...values.filter((value) => !Number.isNaN(value)));
    const mark = (values, column) => (values[column] === best(values) ? 'best' : '');
    for (let column = 0; column < truth; column += 1) {
      const row = body.insertRow();
      cell(row, 'th', data.columns[column]);
      cell(row, 'td', format(psnr[column], 2), mark(psnr, column));
      cell(row, 'td', format(ssim[column], 4), mark(ssim, column));
      if (data.pair) {
        const gain = psnr[column] === psnr[first] ? 0 : psnr[column] - psnr[first];
        cell(row, 'td', column === first ? '' : formatGain(gain), direction(gain));
      }
    }
  }

  // ---- the picture ---------------------------------------------------------------------------

  function clampView(image) {
    const room = { x: stage.clientWidth, y: stage.clientHeight };
    const size = { x: image.size[0] * view.scale, y: image.size[1] * view.scale };
    for (const axis of ['x', 'y']) {
      const spare = room[axis] - size[axis];
      // Smaller than the stage: in the middle. Larger: no gap at its borders.
      // Whole pixels of the screen: else an enlarged pixel's border would lie between two.
      view[axis] = Math.round(spare >= 0 ? spare / 2 : Math.min(0, Math.max(spare, view[axis])));
    }
  }

  function place() {
    const image = data.images[current];
    const [width, height] = image.size;
    const fit = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    if (view.fitted) view.scale = fit;
    clampView(image);
    for (const side of Object.values(sides)) {
      side.image.width = width;
      side.image.height = height;
      side.image.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
      side.image.classList.toggle('pixels', view.scale * window.devicePixelRatio > 1);
    }
    stage.classList.toggle('zoomed', view.scale > fit * 1.001);
    document.querySelectorAll('[data-zoom]').forEach((button) => {
      const wanted = button.dataset.zoom;
      const pressed = wanted === 'fit' ? view.fitted : !view.fitted && Number(wanted) === view.scale;
      button.setAttribute('aria-pressed', String(pressed));
    });
  }

  function zoom(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const wanted = Math.min(32, Math.max(0.05, scale));
    const ratio = wanted / view.scale;
    // The point (x, y) of the stage stays where it is.
    view.x = x - (x - view.x) * ratio;
    view.y = y - (y - view.y) * ratio;
    view.scale = wanted;
    view.fitted = false;
    place();
  }

  function fit() {
    view.fitted = true;
    place();
  }

  function moveSplit(percent) {
    split = Math.min(100, Math.max(0, percent));
    stage.style.setProperty('--split', `${split}%`);
    const divider = $('divider');
    divider.setAttribute('aria-valuenow', String(Math.round(split)));
    divider.setAttribute('aria-valuetext', `${Math.round(split)} % left`);
  }

  function showSides() {
    const image = data.images[current];
    for (const side of Object.values(sides)) {
      const column = Number(side.select.value);
      const url = image.files[column];
      if (side.image.getAttribute('src') !== url) side.image.src = url;
      side.image.alt = `${image.name}, ${data.columns[column]}`;
      const psnr = format(number(image.PSNR[column]), 2);
      side.tag.textContent = data.columns[column] + (psnr ? ` ${psnr} dB` : '');
    }
  }

  // ---- the list ------------------------------------------------------------------------------

  function show(index, scroll = true) {
    const before = data.images[current].size;
    current = index;
    const image = data.images[index];
    // A zoomed place is kept from image to image, as long as the images are of one size.
    if (String(before) !== String(image.size)) view.fitted = true;
    const place_ = order.indexOf(index) + 1;
    $('name').textContent = image.name + (place_ ? ` (${place_} of ${order.length})` : '');
    items.forEach((item) => {
      const here = Number(item.dataset.index) === index;
      item.setAttribute('aria-current', String(here));
      if (here && scroll && getComputedStyle($('images')).overflowY === 'auto') {
        item.scrollIntoView({ block: 'nearest' });
      }
    });
    showSides();
    showNumbers(image);
    place();
    // So that a page that is opened again, or a link to it, shows the same image.
    const hash = `#${encodeURIComponent(image.name)}`;
    if (window.location.hash !== hash) window.history.replaceState(null, '', hash);
    preload();
  }

  function preload() {
    const next = order[order.indexOf(current) + 1];
    if (next === undefined) return;
    for (const side of Object.values(sides)) {
      new Image().src = data.images[next].files[Number(side.select.value)];
    }
  }

  function step(by) {
    const position = order.indexOf(current) + by;
    if (position >= 0 && position < order.length) show(order[position]);
  }

  function arrange() {
    const [kind, sign] = $('order').value.split(':');
    const wanted = $('filter').value.trim().toLowerCase();
    order = data.images.map((_, index) => index);
    if (kind !== 'name') {
      const value = (index) => {
        const image = data.images[index];
        return kind === 'gain' ? number(image.gain) : number(image.PSNR[Number(kind)]);
      };
      // Differences of infinite values are no numbers; comparisons are.
      order.sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        return (p === q ? a - b : p < q ? -1 : 1) * (p === q ? 1 : Number(sign));
      });
    }
    order = order.filter((index) => data.images[index].name.toLowerCase().includes(wanted));
    const list = $('images');
    const shown = new Set(order);
    items.forEach((item) => {
      item.parentElement.hidden = !shown.has(Number(item.dataset.index));
    });
    const byIndex = new Map(items.map((item) => [Number(item.dataset.index), item.parentElement]));
    order.forEach((index) => list.append(byIndex.get(index)));
    $('nothing').hidden = order.length > 0;
    list.scrollTop = 0;
  }

  // ---- pointers: drag the slider, drag the picture, pinch -------------------------------------

  const pointers = new Map();
  let dragsDivider = false;

  const spot = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { distance: Math.hypot(a.x - b.x, a.y - b.y) || 1, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  stage.addEventListener('pointerdown', (event) => {
    if (event.button > 0) return;
    pointers.set(event.pointerId, spot(event));
    stage.setPointerCapture(event.pointerId);
    if (pointers.size === 1) {
      dragsDivider = $('divider').contains(event.target) || !stage.classList.contains('zoomed');
      if (dragsDivider) moveSplit((100 * spot(event).x) / stage.clientWidth);
      else stage.classList.add('moving');
    }
  });

  stage.addEventListener('pointermove', (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = pointers.size > 1 ? spread() : pointers.get(event.pointerId);
    pointers.set(event.pointerId, spot(event));
    if (pointers.size > 1) {
      const after = spread();
      view.x += after.x - before.x;
      view.y += after.y - before.y;
      zoom((view.scale * after.distance) / before.distance, after.x, after.y);
    } else if (dragsDivider) {
      moveSplit((100 * spot(event).x) / stage.clientWidth);
    } else {
      view.x += spot(event).x - before.x;
      view.y += spot(event).y - before.y;
      place();
    }
  });

  const release = (event) => {
    pointers.delete(event.pointerId);
    stage.classList.remove('moving');
  };
  stage.addEventListener('pointerup', release);
  stage.addEventListener('pointercancel', release);
  stage.addEventListener('dblclick', (event) => {
    if (view.fitted) zoom(Math.max(2, view.scale * 3), spot(event).x, spot(event).y);
    else fit();
  });
  stage.addEventListener('wheel', (event) => {
    event.preventDefault();
    const { x, y } = spot(event);
    zoom(view.scale * Math.exp(-Math.sign(event.deltaY) * 0.2), x, y);
  }, { passive: false });

  // ---- controls ------------------------------------------------------------------------------

  data.columns.forEach((name, column) => {
    for (const side of Object.values(sides)) side.select.add(new Option(name, String(column)));
  });
  sides.left.select.value = String(data.pair ? data.columns.indexOf(data.pair[0]) : 0);
  sides.right.select.value = String(data.pair ? data.columns.indexOf(data.pair[1]) : truth);

  function exchange() {
    const { left, right } = sides;
    [left.select.value, right.select.value] = [right.select.value, left.select.value];
    showSides();
  }

  sides.left.select.addEventListener('change', showSides);
  sides.right.select.addEventListener('change', showSides);
  $('swap').addEventListener('click', exchange);
  $('previous').addEventListener('click', () => step(-1));
  $('next').addEventListener('click', () => step(1));
  document.querySelectorAll('[data-zoom]').forEach((button) => {
    button.addEventListener('click', () => {
      if (button.dataset.zoom === 'fit') fit();
      else zoom(Number(button.dataset.zoom));
    });
  });
  $('filter').addEventListener('input', arrange);
  $('order').addEventListener('change', () => {
    arrange();
    if (order.length) show(order[0]);
  });
  items.forEach((item) => {
    item.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // the link itself: the file
      event.preventDefault();
      show(Number(item.dataset.index), false);
      if (stage.getBoundingClientRect().top < 0 || stage.getBoundingClientRect().bottom > innerHeight) {
        $('viewer').scrollIntoView();
      }
    });
  });

  const keys = {
    ArrowLeft: (event) => (event.shiftKey ? moveSplit(split - 2) : step(-1)),
    ArrowRight: (event) => (event.shiftKey ? moveSplit(split + 2) : step(1)),
    '+': () => zoom(view.scale * 1.5),
    '=': () => zoom(view.scale * 1.5),
    '-': () => zoom(view.scale / 1.5),
    0: fit,
    x: exchange,
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches('input, select') || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key](event);
  });
  new ResizeObserver(place).observe(stage);

  const wanted = () => {
    try {
      const name = decodeURIComponent(window.location.hash.slice(1));
      return data.images.findIndex((image) => image.name === name);
    } catch {
      return -1; // a hash that is no encoded name
    }
  };
  window.addEventListener('hashchange', () => {
    if (wanted() >= 0 && wanted() !== current) show(wanted());
  });
  moveSplit(50);
  show(Math.max(0, wanted()));
})();
