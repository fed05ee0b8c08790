// Curves on a canvas. No library: two lines, a range and a moving window.
"use strict";

function paper(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return {pen, width, height};
}

function colours() {
  const style = getComputedStyle(document.body);
  const colour = name => style.getPropertyValue(name).trim();
  return {measured: colour("--measured"), target: colour("--target"), line: colour("--line"),
    limit: colour("--limit"), muted: colour("--muted"), warn: colour("--warn")};
}

// points: [t_s, ...values]; a gap of more than half a second is not bridged.
function trace(pen, points, column, x, y) {
  pen.beginPath();
  let last = -Infinity;
  for (const point of points) {
    const value = point[column];
    if (value === null) continue;
    if (point[0] - last > 0.5) pen.moveTo(x(point[0]), y(value));
    else pen.lineTo(x(point[0]), y(value));
    last = point[0];
  }
  pen.stroke();
}

function drawJoint(canvas, points, joint, joints, low, high, now, span, colour) {
  const {pen, width, height} = paper(canvas);
  const margin = Math.max(3, (high - low) * 0.04);
  const x = t => width - (now - t) / span * width;
  const y = value => height - (value - low + margin) / (high - low + 2 * margin) * height;
  pen.fillStyle = colour.limit;
  pen.fillRect(0, 0, width, y(high));
  pen.fillRect(0, y(low), width, height - y(low));
  if (low < 0 && high > 0) {
    pen.strokeStyle = colour.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, Math.round(y(0)) + 0.5);
    pen.lineTo(width, Math.round(y(0)) + 0.5);
    pen.stroke();
  }
  pen.lineJoin = "round";
  pen.strokeStyle = colour.target;
  pen.lineWidth = 3.5;
  trace(pen, points, 1 + joint, x, y);
  pen.strokeStyle = colour.measured;
  pen.lineWidth = 1.5;
  trace(pen, points, 1 + joints + joint, x, y);
}

// The worst lateness of each point, on a scale that has its top at `top` ms or what was worse.
function drawLate(canvas, points, column, now, span, top, colour) {
  const {pen, width, height} = paper(canvas);
  const worst = points.reduce((most, point) => Math.max(most, point[column] || 0), top);
  const bar = Math.max(1, width / points.length - 1);
  for (const point of points) {
    const value = point[column] || 0;
    const tall = Math.max(1, value / worst * (height - 14));
    pen.fillStyle = value >= top ? colour.warn : colour.measured;
    pen.fillRect(width - (now - point[0]) / span * width, height - tall, bar, tall);
  }
  pen.fillStyle = colour.muted;
  pen.font = "11px system-ui, sans-serif";
  pen.fillText(`${worst.toFixed(worst < 10 ? 1 : 0)} ms`, 0, 10);
}
