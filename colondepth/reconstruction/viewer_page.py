"""The page of `viewer`: WebGL written by hand, so that nothing has to be fetched or installed.

What `viewer` puts in: @TITLE@ (escaped), @FACTS@ (how to read the data, and the words) and @DATA@
(base64 of little-endian arrays). The eye stands `distance` behind `target`; `turn` holds the
camera's axes (right, up, back) in a row. Inside, the eye stays where it is when the view turns.
"""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<style>
html, body { margin: 0; height: 100%; overflow: hidden; background: #f4f4f4; color: #222;
  font: 14px/1.4 system-ui, sans-serif; }
canvas { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
#bar, #foot { position: fixed; left: 0; right: 0; padding: .35rem .7rem; background: #ffffffd8; }
#bar { top: 0; } #bar b { margin-right: 1rem; } #bar label { margin: 0 .5rem; }
#foot { bottom: 0; }
#foot > span { margin-right: 1.2rem; }
#scale { display: inline-block; height: 5px; margin-right: .4rem; background: #222;
  vertical-align: middle; }
#legend { position: fixed; right: .7rem; top: 50%; width: 9rem; transform: translateY(-50%);
  padding: .5rem; background: #ffffffd8; }
#colours { height: 10rem; width: 1.4rem; float: left; margin-right: .5rem; }
#ends { height: 10rem; display: flex; flex-direction: column; justify-content: space-between; }
@media (max-width: 600px) { #legend { top: auto; bottom: 9rem; transform: none; }
  #colours, #ends { height: 7rem; } }
button[aria-pressed=true] { background: #222; color: #fff; }
[hidden] { display: none !important; }
</style></head><body>
"""

EMPTY = (
    _HEAD
    + """<div id="bar"><b>@TITLE@</b> There is no wall to show.</div>
<div id="foot">Research software, not for diagnosis.</div></body></html>
"""
)

_BODY = """<canvas id="view"></canvas>
<div id="bar"><b>@TITLE@</b><span id="layers"></span>
<label><input type="checkbox" id="through" checked> walls from outside see-through</label>
<span id="going"><label><input type="checkbox" id="way" checked> camera's way</label>
<button id="inside">inside</button> <button id="outside">outside</button></span></div>
<div id="legend" hidden><div id="about"></div><div id="colours"></div>
<div id="ends"><span id="most"></span><span id="least"></span></div></div>
<div id="foot"><span><span id="scale"></span><span id="mm"></span></span><span id="words"></span>
<span id="how"></span><span>Research software, not for diagnosis.</span></div>
"""

_DRAWING = """
"use strict";
const facts = @FACTS@, data = @DATA@;
const part = id => document.getElementById(id);
const bytes = name => Uint8Array.from(atob(data[name]), c => c.charCodeAt(0)).buffer;
const dot = (u, v) => u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
const cross = (u, v) =>
  [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
const unit = v => { const l = Math.hypot(...v) || 1; return v.map(x => x / l); };
const plus = (u, v, times = 1) => u.map((x, k) => x + times * v[k]);
const canvas = part("view");
const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
if (!gl) {
  part("words").textContent = "This browser shows no WebGL 2, which the wall is drawn with.";
  throw new Error("no WebGL 2");
}
const packed = new Uint16Array(bytes("places")), faces = new Uint32Array(bytes("faces"));
const way = new Float32Array(bytes("way"));
const places = Float32Array.from(packed, (x, i) =>
  facts.low[i % 3] + x / 65535 * facts.extent[i % 3]);
const normals = new Float32Array(places.length);
for (let f = 0; f < faces.length; f += 3) {
  const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
  const u = [0, 1, 2].map(k => places[b + k] - places[a + k]);
  const n = cross(u, [0, 1, 2].map(k => places[c + k] - places[a + k]));
  for (const p of [a, b, c]) for (let k = 0; k < 3; k++) normals[p + k] += n[k];
}
const shaders = [
  [gl.VERTEX_SHADER, `#version 300 es
   in vec3 place; in vec3 normal; in vec3 colour; uniform mat4 view, lens; out vec3 c, n, p;
   void main() { vec4 q = view * vec4(place, 1.0); gl_Position = lens * q; c = colour;
     n = mat3(view) * normal; p = q.xyz; gl_PointSize = 3.0; }`],
  [gl.FRAGMENT_SHADER, `#version 300 es
   precision highp float; in vec3 c, n, p; out vec4 o; uniform float lit;
   void main() { float s = abs(dot(normalize(n + vec3(1e-9)), normalize(p)));
     o = vec4(c * mix(1.0, 0.45 + 0.55 * s, lit), 1.0); }`]];
const program = gl.createProgram();
for (const [kind, source] of shaders) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
}
gl.linkProgram(program); gl.useProgram(program);
const uniform = name => gl.getUniformLocation(program, name);
const input = name => gl.getAttribLocation(program, name);
function buffer(array, kind = gl.ARRAY_BUFFER) {
  const made = gl.createBuffer(); gl.bindBuffer(kind, made);
  gl.bufferData(kind, array, gl.STATIC_DRAW); return made;
}
function feed(name, made, type, normalised) {
  gl.bindBuffer(gl.ARRAY_BUFFER, made); gl.enableVertexAttribArray(input(name));
  gl.vertexAttribPointer(input(name), 3, type, normalised, 0, 0);
}
const wall = { places: buffer(places), normals: buffer(normals),
  faces: buffer(faces, gl.ELEMENT_ARRAY_BUFFER), way: buffer(way),
  layers: facts.layers.map((_, k) => buffer(new Uint8Array(bytes("layer" + k)))) };

const OUTSIDE = 0.7, INSIDE = 1.5;  // fields of view up and down, in radians
const AHEAD = 12;  // mm before the eye: where the scale bar holds while inside
const middle = plus(facts.low, facts.extent, 0.5), size = Math.hypot(...facts.extent);
let layer = 0, along = 0, waiting = false, goal = null, now = fromOutside();
function fromOutside() {  // from the side: the longest way of the box lies across the picture
  const order = [0, 1, 2].sort((a, b) => facts.extent[b] - facts.extent[a]);
  const right = [0, 0, 0], up = [0, 0, 0]; right[order[0]] = 1; up[order[1]] = 1;
  const wide = canvas.clientWidth / canvas.clientHeight || 1;
  return { turn: [...right, ...up, ...cross(right, up)], target: middle, field: OUTSIDE,
    distance: 1.25 * size / Math.min(1, wide) };
}
const axis = (k, turn = now.turn) => turn.slice(3 * k, 3 * k + 3);
const eyeOf = (state = now) => plus(state.target, axis(2, state.turn), state.distance);
const isInside = () => now.field > 1;
const perPixel = () => 2 * now.distance * Math.tan(now.field / 2) / canvas.clientHeight;
function rotate(about, angle) {
  const [x, y, z] = unit(about), c = Math.cos(angle), s = Math.sin(angle), t = 1 - c;
  const m = [t*x*x+c, t*x*y-s*z, t*x*z+s*y, t*x*y+s*z, t*y*y+c, t*y*z-s*x,
             t*x*z-s*y, t*y*z+s*x, t*z*z+c];
  const spin = v => [0, 3, 6].map(k => dot(m.slice(k, k + 3), v));
  const right = unit(spin(axis(0))), up = unit(cross(spin(axis(2)), right));
  now.turn = [...right, ...up, ...cross(right, up)];
}
function draw() {
  if (!waiting) { waiting = true; requestAnimationFrame(paint); }
}
function paint() {
  waiting = false;
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map(x => Math.round(x * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width; canvas.height = height;
  }
  gl.viewport(0, 0, width, height);
  gl.clearColor(0.957, 0.957, 0.957, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.enable(gl.DEPTH_TEST);
  const eye = eyeOf(), t = now.turn;
  const view = [t[0], t[3], t[6], 0, t[1], t[4], t[7], 0, t[2], t[5], t[8], 0,
    -dot(axis(0), eye), -dot(axis(1), eye), -dot(axis(2), eye), 1];
  const f = 1 / Math.tan(now.field / 2), off = Math.hypot(...plus(eye, middle, -1));
  const near = Math.max(0.2, off - size / 2 - 1), far = off + size;
  const lens = [f * height / width, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1,
    0, 0, 2 * far * near / (near - far), 0];
  gl.uniformMatrix4fv(uniform("view"), false, view);
  gl.uniformMatrix4fv(uniform("lens"), false, lens);
  // Front is the side of the lumen; what turns its back is seen from outside.
  if (part("through").checked) { gl.enable(gl.CULL_FACE); gl.cullFace(gl.BACK); }
  else gl.disable(gl.CULL_FACE);
  gl.uniform1f(uniform("lit"), 1);
  feed("place", wall.places, gl.FLOAT, false); feed("normal", wall.normals, gl.FLOAT, false);
  feed("colour", wall.layers[layer], gl.UNSIGNED_BYTE, true);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, wall.faces);
  gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_INT, 0);
  if (way.length && part("way").checked) {
    gl.uniform1f(uniform("lit"), 0);
    feed("place", wall.way, gl.FLOAT, false);
    for (const name of ["normal", "colour"]) gl.disableVertexAttribArray(input(name));
    gl.vertexAttrib3f(input("normal"), 0, 0, 1);
    gl.vertexAttrib3f(input("colour"), 0.1, 0.45, 1);
    gl.drawArrays(gl.LINE_STRIP, 0, way.length / 3);
    if (!isInside()) gl.drawArrays(gl.POINTS, 0, way.length / 3);
  }
  const wanted = perPixel() * 120, power = 10 ** Math.floor(Math.log10(wanted));
  const mm = [5, 2, 1].map(k => k * power).find(k => k <= wanted) || power;
  part("scale").style.width = mm / perPixel() + "px";
  part("mm").textContent = +mm.toPrecision(2) + " mm, " +
    (isInside() ? +now.distance.toFixed(0) + " mm ahead" : "at the middle of the picture");
}
"""

_MOVING = """
const line = new Float32Array(bytes("line"));  // through the lumen's middle: where one flies
const stops = Array.from({ length: line.length / 3 }, (_, k) => [...line.slice(3*k, 3*k + 3)]);
const stopsMm = [0];
for (let k = 1; k < stops.length; k++)
  stopsMm.push(stopsMm[k - 1] + Math.hypot(...plus(stops[k], stops[k - 1], -1)));
const lineMm = stopsMm[stopsMm.length - 1];
function onLine(mm) {
  const next = stopsMm.findIndex(x => x >= mm);
  if (next === 0 || stops.length < 2) return stops[0];
  if (next < 0) return stops[stops.length - 1];
  const share = (mm - stopsMm[next - 1]) / (stopsMm[next] - stopsMm[next - 1]);
  return plus(stops[next - 1], plus(stops[next], stops[next - 1], -1), share);
}
function direction(mm) {  // null where the camera stood in one place
  const step = plus(onLine(Math.min(lineMm, mm + 4)), onLine(Math.max(0, mm - 4)), -1);
  return Math.hypot(...step) > 1 ? unit(step) : null;
}
function looking(place, forward) {
  const back = forward.map(x => -x);
  const right = unit(cross(Math.abs(back[1]) < 0.9 ? [0, 1, 0] : [1, 0, 0], back));
  return { turn: [...right, ...cross(back, right), ...back], field: INSIDE, distance: AHEAD,
    target: plus(place, forward, AHEAD) };
}
function settle() {  // a hand on the picture ends a flight where it was going
  if (goal) { now = goal; goal = null; }
}
function fly(to) {
  settle();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) { now = to; draw(); return; }
  const from = now, eyes = [eyeOf(from), eyeOf(to)], start = performance.now();
  const mix = (a, b, s) => a.map((x, k) => x + s * (b[k] - x));
  goal = to;
  (function step() {
    if (goal !== to) return;
    const share = Math.min(1, (performance.now() - start) / 600), s = share * share * (3 - 2*share);
    const back = unit(mix(axis(2, from.turn), axis(2, to.turn), s));
    const side = mix(axis(0, from.turn), axis(0, to.turn), s);
    const right = unit(plus(side, back, -dot(side, back)));
    const [distance, field] = mix([from.distance, from.field], [to.distance, to.field], s);
    now = { turn: [...right, ...cross(back, right), ...back], distance, field,
      target: plus(mix(...eyes, s), back, -distance) };
    if (share < 1) requestAnimationFrame(step); else settle();
    draw();
  })();
}
function goInside(mm) {
  if (!stops.length) return;
  along = mm;
  const place = onLine(mm), tangent = direction(mm);
  if (!tangent) return fly(looking(place, unit(plus(middle, place, -1))));
  // A camera sees what lies before it, so the wall reaches further where it looked.
  const seen = dot(plus(middle, onLine(lineMm / 2), -1), plus(onLine(lineMm), onLine(0), -1));
  fly(looking(place, seen < 0 ? tangent.map(x => -x) : tangent));
}
function nearest(x, y) {  // how far along is the place of the line that the picture shows nearest
  let best = [Infinity, lineMm / 2]; const eye = eyeOf(), scale = perPixel() / now.distance;
  stops.forEach((place, k) => {
    const to = plus(place, eye, -1), depth = -dot(to, axis(2));
    if (depth <= 0) return;
    const off = Math.hypot(dot(to, axis(0)) / depth / scale - (x - canvas.clientWidth / 2),
      -dot(to, axis(1)) / depth / scale - (y - canvas.clientHeight / 2));
    if (off < best[0]) best = [off, stopsMm[k]];
  });
  return best[1];
}
function forward(mm) {  // inside: along the line, turning as it turns; straight on without one
  const before = direction(along);
  if (!before) { now.target = plus(now.target, axis(2), -mm); return; }
  const wanted = along + (dot(before, axis(2)) > 0 ? -mm : mm);
  const next = Math.min(lineMm, Math.max(0, wanted));
  const about = cross(before, direction(next)), eye = eyeOf();
  if (Math.hypot(...about) > 1e-6) rotate(about, Math.asin(Math.min(1, Math.hypot(...about))));
  now.target = plus(plus(eye, onLine(next)), onLine(along), -1);
  now.target = plus(now.target, axis(2), -now.distance); along = next;
}
function zoom(factor) {
  if (isInside()) forward(-40 * Math.log(factor));
  else now.distance = Math.min(10 * size, Math.max(1, now.distance * factor));
}
function pan(dx, dy) {
  const step = perPixel();
  now.target = plus(plus(now.target, axis(0), -step * dx), axis(1), step * dy);
}
function turnBy(dx, dy) {
  // Inside, what the finger holds stays under it; outside, a hand's width turns by half.
  const eye = eyeOf(), angle = isInside() ? perPixel() / now.distance : -0.006;
  rotate(axis(1), angle * dx); rotate(axis(0), angle * dy);
  if (isInside()) now.target = plus(eye, axis(2), -now.distance);
}
"""

_HANDS = """
const buttons = facts.layers.map((each, k) => {
  const made = document.createElement("button"); made.textContent = (k + 1) + " " + each.name;
  made.onclick = () => show(k); part("layers").append(made, " "); return made;
});
function show(k) {
  layer = k; buttons.forEach((b, j) => b.setAttribute("aria-pressed", j === k));
  const { about, least, most } = facts.layers[k];
  part("legend").hidden = !about;
  part("about").textContent = about; part("least").textContent = least;
  part("most").textContent = most;
  draw();
}
part("colours").style.background =
  `linear-gradient(to top, ${facts.scale.map(c => `rgb(${c})`).join(", ")})`;
part("words").textContent = facts.words;
part("how").textContent = "Drag turns, wheel or two fingers zoom, right or shift-drag moves" +
  (way.length ? ", double click goes inside and out; there the wheel goes along." : ".");
part("going").hidden = !way.length;
part("inside").onclick = () => goInside(lineMm / 2);
part("outside").onclick = () => fly(fromOutside());
for (const id of ["through", "way"]) part(id).onchange = draw;
const fingers = new Map();
canvas.onpointerdown = e => {
  settle(); canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, e);
};
canvas.onpointerup = canvas.onpointercancel = e => fingers.delete(e.pointerId);
canvas.onpointermove = e => {
  const last = fingers.get(e.pointerId); if (!last) return;
  const dx = e.clientX - last.clientX, dy = e.clientY - last.clientY;
  if (fingers.size === 2) {
    const other = [...fingers.values()].find(f => f.pointerId !== e.pointerId);
    const apart = p => Math.max(1, Math.hypot(p.clientX - other.clientX, p.clientY-other.clientY));
    zoom(apart(last) / apart(e));
    if (!isInside()) pan(dx / 2, dy / 2);
  } else if (e.shiftKey || e.buttons === 2) pan(dx, dy);
  else turnBy(dx, dy);
  fingers.set(e.pointerId, e); draw();
};
canvas.onwheel = e => {
  e.preventDefault(); settle();
  zoom(Math.exp(Math.max(-200, Math.min(200, e.deltaY * (e.deltaMode ? 30 : 1))) * 0.001));
  draw();
};
canvas.oncontextmenu = e => e.preventDefault();
canvas.ondblclick = e => {
  if (isInside()) fly(fromOutside()); else goInside(nearest(e.offsetX, e.offsetY));
};
window.onkeydown = e => { const k = +e.key - 1; if (k >= 0 && k < buttons.length) show(k); };
window.onresize = draw;
if (location.hash === "#inside") { goInside(lineMm / 2); settle(); }
show(0);
"""

PAGE = _HEAD + _BODY + "<script>" + _DRAWING + _MOVING + _HANDS + "</script></body></html>\n"
