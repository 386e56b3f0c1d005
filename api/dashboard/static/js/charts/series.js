// Curves as points by step, as they are read and as they grow.

export class Curve {
  constructor(points = []) {
    this.x = points.map(([step]) => step);
    this.y = points.map(([, value]) => value);
  }

  push(step, value) {
    if (value === null || value === undefined) return;
    const last = this.x.at(-1);
    if (last !== undefined && step <= last) return;
    this.x.push(step);
    this.y.push(value);
  }

  // Steps from here on will be run again.
  cut(step) {
    let count = this.x.length;
    while (count && this.x[count - 1] >= step) count -= 1;
    this.x.length = this.y.length = count;
  }

  get length() {
    return this.x.length;
  }
}

// Exponential moving average, debiased; the weight is that of the past for neighbouring points.
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    sum = sum * weight + value * (1 - weight);
    norm = norm * weight + (1 - weight);
    return sum / norm;
  });
}
