"use strict";
(() => {
  const told = JSON.parse(document.getElementById("volumes").textContent);
  const rows = [...document.querySelectorAll(".row[data-map]")];
  const fail = (reason) => {
    document.documentElement.dataset.viewer = "none";
    const note = document.getElementById("noviewer");
    if (note) { note.hidden = rows.length === 0; note.querySelector("span").textContent = reason; }
  };
  const works = () => {
    try { return document.createElement("canvas").getContext("webgl2") !== null; } catch { return false; }
  };
  if (!rows.some((row) => told.maps[row.dataset.map])) { fail("No volume can be displayed in the viewer."); return; }
  if (!window.niivue) { fail("The script of the viewer is missing beside this page; the maps are shown as static figures."); return; }
  if (!works()) { fail("This browser does not support WebGL 2; the maps are shown as static figures."); return; }

  const pool = window.unweightViewers = [];
  let live = null;
  const bytes = (text) => Uint8Array.from(atob(text), (mark) => mark.charCodeAt(0)).buffer;
  const minus = (text) => text.replace("-", "−");
  const range = (count) => Array.from({ length: count }, (_, index) => index);

  const create = async () => {
    const box = document.createElement("div");
    const canvas = document.createElement("canvas");
    box.className = "canvas";
    box.append(canvas);
    document.body.append(box);
    const nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.8], crosshairWidth: 1, isColorbar: false,
      isOrientCube: false, isRadiologicalConvention: true, isNearestInterpolation: true,
      dragAndDropEnabled: false, multiplanarShowRender: 0, multiplanarLayout: 2, loadingText: "",
      logLevel: "error", fontColor: [0.8, 0.8, 0.82, 1], show3Dcrosshair: false, dragMode: 3, fontMinPx: 11,
      doubleTouchTimeout: 0,
    });
    await nv.attachToCanvas(canvas);
    canvas.tabIndex = -1;
    nv.onLocationChange = (place) => follow(nv, place);
    return { nv, box };
  };

  const follow = (from, place) => {
    if (!live || !live.ready) return;
    for (const { nv } of live.viewers) {
      if (nv === from) continue;
      nv.scene.crosshairPos = [...from.scene.crosshairPos];
      nv.scene.pan2Dxyzmm = [...from.scene.pan2Dxyzmm];
      nv.drawScene();
    }
    tell(place);
  };

  const at = (viewer, voxel) => viewer.nv.volumes[0].getValue(...voxel);
  const shown = (layer, value) => {
    const text = minus(Math.min(Math.abs(value), layer.limit).toFixed(layer.digits));
    return (value < 0 ? "−" : Math.abs(value) >= layer.limit ? "> " : "") + text;
  };
  const tell = (place) => {
    const voxel = place.vox.slice(0, 3).map(Math.round);
    const { map, viewers, layers, row } = live;
    const code = Math.round(viewers[0].nv.volumes[1].getValue(...voxel) / told.gap);
    const status = told.statuses[code] ?? told.statuses[1];
    const parts = [];
    if (status.failed) {
      parts.push(["value", "no value", ""]);
    } else {
      const value = at(viewers[0], voxel);
      const unit = map.value.unit ? ` ${map.value.unit}` : "";
      let text = shown(map.value, value);
      const sd = layers.indexOf(map.sd);
      if (map.sd && sd > 0) {
        const spread = at(viewers[sd], voxel);
        text += ` ± ${shown(map.sd, spread)}`;
        parts.push(["value", `${text}${unit}`, map.value.title]);
        if (value > 0 && !told.differences.includes(map.value.title)) {
          parts.push(["relative", `${(100 * spread / value).toFixed(1)} %`, "SD"]);
        }
      } else { parts.push(["value", `${text}${unit}`, map.value.title]); }
      if (live.ends) {
        const [low, high] = live.ends.map((end) => shown(map.value, end.getValue(...voxel)));
        parts.push(["interval", `${low} to ${high}${unit}`, map.interval.title]);
      }
      const misfit = layers.indexOf(map.misfit);
      if (map.misfit && misfit > 0) parts.push(["misfit", shown(map.misfit, at(viewers[misfit], voxel)), map.misfit.title]);
    }
    parts.push([`status ${status.kind}`, status.name, ""]);
    if (status.kind !== "good") parts.push(["meaning", status.meaning, ""]);
    parts.push(["position", place.mm ? [...place.mm].slice(0, 3).map((one) => minus(one.toFixed(1))).join(", ") : "", "mm"]);
    const line = row.querySelector(".readout");
    line.replaceChildren(...parts.map(([kind, text, name]) => {
      const one = document.createElement("span");
      one.className = kind;
      if (name) { const small = document.createElement("small"); small.textContent = `${name} `; one.append(small); }
      one.append(text);
      return one;
    }));
    line.title = status.meaning;
    line.dataset.mm = [...place.mm].slice(0, 3).join(",");
    line.dataset.voxel = voxel.join(",");
  };

  const look = (name, layer) => {
    const [R, G, B] = layer.lut;
    return { min: 0, max: 0, R, G, B, A: R.map(() => 255), I: range(256) };
  };
  const marks = (marked) => {
    const code = range(256).map((value) => Math.min(told.statuses.length - 1, Math.round(value / told.gap)));
    const colour = code.map((one) => told.statuses[one]);
    const seen = colour.map((one) => (one.failed ? 255 : one.kind === "doubt" && marked ? 215 : 0));
    return {
      min: 0, max: 0, A: seen, I: range(256),
      R: colour.map((one) => (one.failed ? 0 : 237)),
      G: colour.map((one) => (one.failed ? 0 : 120)),
      B: colour.map((one) => (one.failed ? 0 : 50)),
    };
  };

  const load = async (text, name, colormap, low, high) => {
    const volume = await niivue.NVImage.loadFromUrl({ url: bytes(text), name: `${name}.nii.gz`, colormap });
    volume.cal_min = low;  // what the viewer finds by itself depends on the values
    volume.cal_max = high;
    return volume;
  };

  const plane = (row, name) => {
    const kinds = { axial: 0, coronal: 1, sagittal: 2, all: 3 };
    for (const { nv } of live.viewers) nv.setSliceType(kinds[name]);
    row.querySelectorAll(".planes button").forEach((one) =>
      one.setAttribute("aria-pressed", String(one.dataset.plane === name)));
  };

  const rest = () => {
    if (!live) return;
    live.row.classList.remove("live");
    live.row.querySelector(".open").hidden = false;
    live.row.querySelector(".controls").hidden = true;
    live = null;
  };

  const open = async (row) => {
    const map = told.maps[row.dataset.map];
    rest();
    const layers = [map.value, map.sd, map.misfit].filter(Boolean);
    while (pool.length < layers.length) pool.push(await create());
    live = { row, map, layers, viewers: pool.slice(0, layers.length), ready: false, ends: null };
    const views = [...row.querySelectorAll(".view")];
    row.classList.add("live");
    row.querySelector(".open").hidden = true;
    row.querySelector(".controls").hidden = false;
    const status = await load(map.status, "status", row.querySelector(".paint").checked ? "marked" : "unmarked", 0, 255);
    for (const [index, layer] of layers.entries()) {
      const { nv, box } = live.viewers[index];
      views[index].append(box);
      while (nv.volumes.length) nv.removeVolumeByIndex(nv.volumes.length - 1);
      const name = `map${row.dataset.map}layer${index}`;
      nv.addColormap(name, look(name, layer));
      nv.addColormap("marked", marks(true));
      nv.addColormap("unmarked", marks(false));
      nv.addVolume(await load(layer.volume, name, name, layer.low, layer.high));
      nv.addVolume(status);
      nv.resizeListener();
    }
    live.ends = map.interval
      ? await Promise.all(["lower", "upper"].map((end) => load(map.interval[end], end, "gray", 0, 1)))
      : null;
    const slab = map.slab;
    plane(row, slab === null ? (innerWidth < 700 ? "axial" : "all") : ["sagittal", "coronal", "axial"][slab]);
    live.ready = true;
    const first = live.viewers[0].nv;
    first.scene.crosshairPos = [0.5, 0.5, slab === null ? 0.55 : 0.5];
    first.drawScene();
    first.createOnLocationChange();
  };

  const mark = (marked) => {
    for (const { nv } of live.viewers) {
      nv.volumes[1].colormap = marked ? "marked" : "unmarked";
      nv.updateGLVolume();
    }
  };

  const STEPS = {
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };
  for (const row of rows) {
    const map = told.maps[row.dataset.map];
    const button = row.querySelector(".open");
    if (!map) { button.remove(); continue; }
    button.hidden = false;
    button.addEventListener("click", () => open(row).then(() => row.querySelector(".view").focus()));
    row.querySelectorAll(".planes button").forEach((one) =>
      one.addEventListener("click", () => plane(row, one.dataset.plane)));
    row.querySelector(".paint").addEventListener("change", (event) => mark(event.target.checked));
    row.querySelectorAll(".view").forEach((view, index) => {
      view.addEventListener("click", () => { if (live?.row !== row) open(row); });
      view.addEventListener("keydown", (event) => {
        if ((event.key === "Enter" || event.key === " ") && live?.row !== row) { event.preventDefault(); open(row); return; }
        const step = STEPS[event.key];
        if (!step || live?.row !== row) return;
        event.preventDefault();
        event.stopPropagation();
        live.viewers[index].nv.moveCrosshairInVox(...step);
      }, true);
    });
  }
  const first = rows.find((row) => told.maps[row.dataset.map]);
  open(first).then(() => { document.documentElement.dataset.viewer = "live"; }, (error) => {
    rest();
    rows.forEach((row) => { row.querySelector(".open")?.remove(); row.classList.remove("live"); });
    fail(`The viewer could not start (${error.message}); the maps are shown as static figures.`);
  });
})();
