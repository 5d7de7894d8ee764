const LEAST = 3; // ticks

// Round values within a range, about `count` of them and three or more; whole ones where asked for, be they fewer.
function ticks([low, high], count, whole = false) {
  const rough = (high - low) / Math.max(count, 1);
  let power = 10 ** Math.floor(Math.log10(rough));
  let factor = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const within = (step) => Math.floor(high / step) - Math.ceil(low / step) + 1;
  while (!whole && within(factor * power) < LEAST) {
    if (factor === 1) [factor, power] = [10, power / 10];
    factor = { 10: 5, 5: 2, 2: 1 }[factor];
  }
  const step = whole ? Math.max(1, Math.round(factor * power)) : factor * power;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) {
    found.push({ value: i * step, text: decimals(i * step, digits) });
  }
  return found;
}
