// Figures for people, as the terminal shows them.

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
export const NONE = "–";

export const whole = (value) => grouped.format(value);

export function number(value) {
  if (value === null || value === undefined) return NONE;
  if (Math.abs(value) >= 1000) return whole(value);
  return String(Number(value.toPrecision(4)));
}

export const percent = (fraction, digits = 1) =>
  fraction === null || fraction === undefined ? NONE : `${(100 * fraction).toFixed(digits)} %`;

export function large(value) {
  if (value === null || value === undefined) return NONE;
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= size * 10 || (size > 1e3 && Math.abs(value) >= size)) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return number(value);
}

export function joules(value) {
  if (value === null || value === undefined) return NONE;
  for (const [size, unit] of [[1e9, "GJ"], [1e6, "MJ"], [1e3, "kJ"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  }
  return `${Number(value.toPrecision(3))} J`;
}

export function bytes(count) {
  let value = count;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

export function duration(seconds) {
  const total = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(total / 86400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${String(minutes).padStart(2, "0")} min`;
  if (minutes) return `${minutes} min ${String(total % 60).padStart(2, "0")} s`;
  return `${total} s`;
}

// Coarser, for what needs no seconds.
export function age(since, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(since)) / 1000);
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export const moment = (text) =>
  new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" }).format(Date.parse(text));
export const clock = (text) => new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }).format(Date.parse(text));

export const bits = (width) => (width === 32 ? "fp32" : `${width} bits`);
export const shortBits = (width) => (width === 32 ? "32" : String(width));

export function quality(found) {
  if (!found) return NONE;
  if (found.accuracy !== null && found.accuracy !== undefined) return percent(found.accuracy);
  if (found.perplexity !== null && found.perplexity !== undefined) return found.perplexity.toFixed(2);
  return found.loss === null || found.loss === undefined ? NONE : found.loss.toFixed(4);
}

export function qualityName(found) {
  if (!found) return "Quality";
  if (found.accuracy !== null && found.accuracy !== undefined) return "Accuracy";
  return found.perplexity !== null && found.perplexity !== undefined ? "Perplexity" : "Test loss";
}

// An outcome of a comparison has its quality as a name and a value.
export function outcomeQuality(found) {
  if (!found) return NONE;
  return found.name === "accuracy" ? percent(found.value, 2) : number(found.value);
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
