"""The page of `viewer`: WebGL written by hand, so that nothing has to be fetched or installed."""

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<style>
html, body { margin: 0; height: 100%; font: 14px/1.4 system-ui, sans-serif; background: #f4f4f4; }
canvas { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
#bar { position: fixed; left: 0; right: 0; top: 0; padding: .4rem .7rem; background: #ffffffd8; }
#bar b { margin-right: 1rem; } #bar label { margin-left: 1rem; }
#foot { position: fixed; left: 0; right: 0; bottom: 0; padding: .3rem .7rem; background: #ffffffd8;
        color: #444; }
#scale { display: inline-block; height: 5px; background: #222; vertical-align: middle; }
#legend { display: inline-block; width: 9rem; height: .8rem; vertical-align: middle;
  background: linear-gradient(to right, rgb(0,34,78), rgb(53,69,108), rgb(102,105,112),
  rgb(148,142,119), rgb(197,183,103), rgb(254,232,56)); }
button[aria-pressed=true] { background: #222; color: #fff; }
</style></head><body>
"""

EMPTY = (
    _HEAD
    + """<div id="bar"><b>@TITLE@</b> There is no wall to show.</div>
<div id="foot">Research software, not for diagnosis.</div></body></html>
"""
)

PAGE = (
    _HEAD
    + """<canvas id="c"></canvas>
<div id="bar"><b>@TITLE@</b><span id="layers"></span>
<label><input type="checkbox" id="through" checked> near walls see-through</label>
<label><input type="checkbox" id="way" checked> camera's way</label>
<button id="inside">inside</button> <button id="outside">outside</button></div>
<div id="foot"><span id="scale"></span> <span id="mm"></span> &nbsp; <span id="of"></span>
 &nbsp; drag turns, wheel or pinch zooms, shift-drag moves, double click goes inside
 &nbsp; Research software, not for diagnosis.</div>
<script>
"use strict";
const facts = @FACTS@, data = @DATA@;
function bytes(name) { return Uint8Array.from(atob(data[name]), c => c.charCodeAt(0)).buffer; }
const canvas = document.getElementById("c");
const gl = canvas.getContext("webgl2", { antialias: true, preserveDrawingBuffer: true });
if (!gl) document.getElementById("of").textContent = "This browser has no WebGL 2. ";
const packed = new Uint16Array(bytes("places")), faces = new Uint32Array(bytes("faces"));
const way = new Float32Array(bytes("way")), count = packed.length / 3;
const places = new Float32Array(packed.length);
for (let i = 0; i < places.length; i++)
  places[i] = facts.low[i % 3] + packed[i] / 65535 * facts.extent[i % 3];
const normals = new Float32Array(places.length);
for (let f = 0; f < faces.length; f += 3) {
  const [a, b, c] = [3 * faces[f], 3 * faces[f + 1], 3 * faces[f + 2]];
  const u = [0, 1, 2].map(k => places[b + k] - places[a + k]);
  const v = [0, 1, 2].map(k => places[c + k] - places[a + k]);
  const n = cross(u, v);
  for (const p of [a, b, c]) for (let k = 0; k < 3; k++) normals[p + k] += n[k];
}
function cross(u, v) {
  return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
}
function unit(v) { const l = Math.hypot(...v) || 1; return v.map(x => x / l); }
function dot(u, v) { return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]; }
const shaders = [
  [gl.VERTEX_SHADER, `#version 300 es
   in vec3 place; in vec3 normal; in vec3 colour; uniform mat4 view, lens; out vec3 c, n, p;
   void main() { vec4 q = view * vec4(place, 1.0); gl_Position = lens * q; c = colour;
     n = mat3(view) * normal; p = q.xyz; gl_PointSize = 4.0; }`],
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
const at = name => gl.getUniformLocation(program, name);
function buffer(array, kind) {
  const made = gl.createBuffer(); gl.bindBuffer(kind || gl.ARRAY_BUFFER, made);
  gl.bufferData(kind || gl.ARRAY_BUFFER, array, gl.STATIC_DRAW); return made;
}
function feed(name, made, type, normalised) {
  const place = gl.getAttribLocation(program, name);
  gl.bindBuffer(gl.ARRAY_BUFFER, made); gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, 3, type, normalised, 0, 0);
}
const wall = { places: buffer(places), normals: buffer(normals),
  faces: buffer(faces, gl.ELEMENT_ARRAY_BUFFER),
  layers: facts.layers.map((_, k) => buffer(new Uint8Array(bytes("layer" + k)))) };
const wayBuffer = buffer(way);
let layer = 0, turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], eye, target, near, field = 0.7;
const middle = facts.low.map((l, k) => l + facts.extent[k] / 2);
const size = Math.hypot(...facts.extent);
let distance = 1.25 * size;
target = middle.slice();
// Seen from the side: the longest way of the box lies across the picture.
(function () {
  const order = [0, 1, 2].sort((a, b) => facts.extent[b] - facts.extent[a]);
  const right = [0, 0, 0], up = [0, 0, 0]; right[order[0]] = 1; up[order[1]] = 1;
  const back = cross(right, up);
  turn = [...right, ...up, ...back];
})();
function axis(k) { return turn.slice(3 * k, 3 * k + 3); }
function rotate(about, angle) {
  const [x, y, z] = unit(about), c = Math.cos(angle), s = Math.sin(angle), t = 1 - c;
  const m = [t*x*x+c, t*x*y-s*z, t*x*z+s*y, t*x*y+s*z, t*y*y+c, t*y*z-s*x,
             t*x*z-s*y, t*y*z+s*x, t*z*z+c];
  const spin = v => [0, 3, 6].map(k => m[k] * v[0] + m[k + 1] * v[1] + m[k + 2] * v[2]);
  const right = unit(spin(axis(0))), back0 = spin(axis(2)), up = unit(cross(back0, right));
  turn = [...right, ...up, ...cross(right, up)];
}
function draw() {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(0.957, 0.957, 0.957, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.enable(gl.DEPTH_TEST);
  eye = [0, 1, 2].map(k => target[k] + distance * turn[6 + k]);
  const view = [turn[0], turn[3], turn[6], 0, turn[1], turn[4], turn[7], 0,
    turn[2], turn[5], turn[8], 0, -dot(axis(0), eye), -dot(axis(1), eye), -dot(axis(2), eye), 1];
  const f = 1 / Math.tan(field / 2), wide = canvas.width / canvas.height;
  near = Math.max(0.2, (distance - size) / 2); const far = distance + 2 * size;
  const lens = [f / wide, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1,
    0, 0, 2 * far * near / (near - far), 0];
  gl.uniformMatrix4fv(at("view"), false, view); gl.uniformMatrix4fv(at("lens"), false, lens);
  if (document.getElementById("through").checked) { gl.enable(gl.CULL_FACE); gl.cullFace(gl.BACK); }
  else gl.disable(gl.CULL_FACE);
  gl.uniform1f(at("lit"), 1);
  feed("place", wall.places, gl.FLOAT, false); feed("normal", wall.normals, gl.FLOAT, false);
  feed("colour", wall.layers[layer], gl.UNSIGNED_BYTE, true);
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, wall.faces);
  gl.drawElements(gl.TRIANGLES, faces.length, gl.UNSIGNED_INT, 0);
  if (way.length && document.getElementById("way").checked) {
    gl.uniform1f(at("lit"), 0);
    feed("place", wayBuffer, gl.FLOAT, false);
    for (const name of ["normal", "colour"])
      gl.disableVertexAttribArray(gl.getAttribLocation(program, name));
    gl.vertexAttrib3f(gl.getAttribLocation(program, "normal"), 0, 0, 1);
    gl.vertexAttrib3f(gl.getAttribLocation(program, "colour"), 0, 0.35, 0.8);
    gl.drawArrays(gl.LINE_STRIP, 0, way.length / 3);
    gl.drawArrays(gl.POINTS, 0, way.length / 3);
  }
  const perPixel = 2 * distance * Math.tan(field / 2) / canvas.clientHeight;
  const wanted = perPixel * 120, power = 10 ** Math.floor(Math.log10(wanted));
  const mm = [5, 2, 1].map(k => k * power).find(k => k <= wanted);
  document.getElementById("scale").style.width = mm / perPixel + "px";
  document.getElementById("mm").textContent = +mm.toPrecision(2) + " mm at the middle";
}
const buttons = facts.layers.map((each, k) => {
  const made = document.createElement("button"); made.textContent = (k + 1) + " " + each.name;
  made.onclick = () => show(k); document.getElementById("layers").append(made, " "); return made;
});
function show(k) {
  layer = k; buttons.forEach((b, j) => b.setAttribute("aria-pressed", j === k));
  const legend = facts.layers[k].legend, of = document.getElementById("of");
  of.textContent = facts.words + (legend ? ". " + facts.layers[k].name + ": " + legend + " " : "");
  if (legend) { const bar = document.createElement("span"); bar.id = "legend"; of.append(bar); }
  draw();
}
function inside() {
  if (!way.length) return;
  const k = 3 * Math.floor(way.length / 6), ahead = Math.max(0, k - 15);
  let back = [0, 1, 2].map(j => way[k + j] - way[ahead + j]);
  if (Math.hypot(...back) < 1e-3) back = axis(2);
  back = unit(back);
  const right = unit(Math.abs(back[1]) < 0.9 ? cross([0, 1, 0], back) : cross([1, 0, 0], back));
  turn = [...right, ...cross(back, right), ...back];
  distance = 12; field = 1.5; target = [0, 1, 2].map(j => way[k + j] - distance * back[j]);
  document.getElementById("through").checked = false; draw();
}
function outside() {
  distance = 1.25 * size; field = 0.7; target = middle.slice();
  document.getElementById("through").checked = true; draw();
}
document.getElementById("inside").onclick = inside;
document.getElementById("outside").onclick = outside;
for (const id of ["through", "way"]) document.getElementById(id).onchange = draw;
const fingers = new Map();
canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); fingers.set(e.pointerId, e); };
canvas.onpointerup = canvas.onpointercancel = e => fingers.delete(e.pointerId);
canvas.onpointermove = e => {
  const last = fingers.get(e.pointerId); if (!last) return;
  const dx = e.clientX - last.clientX, dy = e.clientY - last.clientY;
  if (fingers.size === 2) {
    const other = [...fingers.values()].find(f => f.pointerId !== e.pointerId);
    const apart = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    distance *= apart(last) / Math.max(1, apart(e));
  } else if (e.shiftKey || e.buttons === 2) {
    const step = 2 * distance * Math.tan(field / 2) / canvas.clientHeight;
    target = target.map((t, k) => t - step * (dx * turn[k] - dy * turn[3 + k]));
  } else {
    const inward = field > 1 ? -1 : 1;
    if (inward < 0) target = eye.slice();
    rotate(axis(1), -inward * dx * 0.006); rotate(axis(0), -inward * dy * 0.006);
    if (inward < 0) target = target.map((t, k) => t - distance * turn[6 + k]);
  }
  fingers.set(e.pointerId, e); draw();
};
canvas.onwheel = e => {
  e.preventDefault();
  if (field > 1) target = target.map((t, k) => t + e.deltaY * 0.02 * turn[6 + k]);
  else distance = Math.max(1, distance * Math.exp(e.deltaY * 0.001));
  draw();
};
canvas.oncontextmenu = e => e.preventDefault();
canvas.ondblclick = inside;
window.onkeydown = e => { const k = +e.key - 1; if (k >= 0 && k < buttons.length) show(k); };
window.onresize = draw;
if (location.hash === "#inside") inside();
show(0);
</script></body></html>
"""
)
