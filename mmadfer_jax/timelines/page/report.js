"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const video = document.querySelector("video");
  const lanes = document.querySelector(".lanes");
  const inner = document.querySelector(".inner");
  const axis = document.querySelector(".axis");
  const head = document.querySelector(".head");
  const clock = document.querySelector(".clock");
  const panels = [...document.querySelectorAll(".now .person")];
  let now = 0;
  let zoom = 1;

  const clockText = (time, digits) => {
    const minutes = Math.floor(time / 60);
    const seconds = (time - 60 * minutes).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
    const hours = Math.floor(minutes / 60);
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${seconds}`
      : `${minutes}:${seconds}`;
  };

  // The last of the rows, sorted by their first number, that starts by a time; -1 before all.
  const lastBy = (count, start, time) => {
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (start(middle) <= time) low = middle + 1; else high = middle;
    }
    return low - 1;
  };

  const probabilities = (runs, time) => {
    const run = runs[lastBy(runs.length, (i) => runs[i].times[0], time)];
    if (!run || time > run.times[run.times.length - 1]) return null;
    const i = Math.min(lastBy(run.times.length, (j) => run.times[j], time), run.times.length - 2);
    const length = run.times[i + 1] - run.times[i];
    const share = length > 0 ? (time - run.times[i]) / length : 0;
    return run.probabilities[i].map((p, k) =>
      ((1 - share) * p + share * run.probabilities[i + 1][k]) / 1000);
  };

  const doubt = (doubts, time) => {
    const found = doubts[lastBy(doubts.length, (i) => doubts[i][0], time)];
    return found && time <= found[1] ? found[2] : "";
  };

  // What the model saw in the window whose middle is nearest.
  const showSeen = (image, seen) => {
    const i = lastBy(seen.length, (j) => seen[j][0], now);
    const next = seen[i + 1];
    const nearest = !next || (i >= 0 && now - seen[i][0] < next[0] - now) ? seen[i] : next;
    image.hidden = !nearest;
    if (nearest && image.getAttribute("src") !== nearest[1]) image.src = nearest[1];
  };

  const showPerson = (panel, person) => {
    const found = probabilities(person.runs, now);
    panel.classList.toggle("away", !found);
    panel.querySelector(".doubt").textContent = found ? doubt(person.doubts, now) : "no answer here";
    panel.querySelectorAll("li").forEach((line) => {
      const p = found ? found[Number(line.dataset.k)] : 0;
      line.querySelector("i").style.width = `${100 * p}%`;
      line.querySelector(".share").textContent = found ? `${Math.round(100 * p)}%` : "–";
    });
    showSeen(panel.querySelector(".seen"), found ? person.seen : []);
  };

  const show = () => {
    head.style.left = `${100 * Math.min(now / data.seconds, 1)}%`;
    clock.textContent = clockText(now, 1);
    lanes.setAttribute("aria-valuenow", now.toFixed(1));
    lanes.setAttribute("aria-valuetext", clockText(now, 1));
    panels.forEach((panel, i) => showPerson(panel, data.people[i]));
  };

  const seek = (time) => {
    now = Math.max(0, Math.min(time, data.seconds));
    if (video) video.currentTime = now;
    show();
  };

  const follow = () => {
    const place = inner.offsetWidth * now / data.seconds - lanes.scrollLeft;
    if (place < 0 || place > lanes.clientWidth) lanes.scrollLeft += place - lanes.clientWidth / 4;
  };

  const drawAxis = () => {
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    const wide = (step) => inner.offsetWidth * step / data.seconds >= 64;
    const step = steps.find(wide) || steps[steps.length - 1];
    axis.replaceChildren(...Array.from({ length: Math.ceil(data.seconds / step) }, (_, i) => {
      const mark = document.createElement("span");
      mark.style.left = `${100 * i * step / data.seconds}%`;
      mark.textContent = clockText(i * step, step < 1 ? 1 : 0);
      return mark;
    }));
  };

  const setZoom = (value) => {
    const most = Math.max(1, 200 * data.seconds / lanes.clientWidth); // 200 pixels a second
    zoom = Math.max(1, Math.min(value, most));
    inner.style.width = `${100 * zoom}%`;
    lanes.scrollLeft = inner.offsetWidth * now / data.seconds - lanes.clientWidth / 2;
    drawAxis();
  };

  const timeAt = (event) =>
    data.seconds * (event.clientX - inner.getBoundingClientRect().left) / inner.offsetWidth;

  lanes.addEventListener("click", (event) => {
    const segment = event.target.closest(".segment");
    // A segment that is chosen with the keyboard has no place of a click.
    seek(segment && !event.detail ? Number(segment.dataset.start) : timeAt(event));
  });
  lanes.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -data.hop, ArrowRight: data.hop, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    seek(now + steps[event.key]);
    follow();
  });
  document.querySelectorAll(".zoom button").forEach((button) =>
    button.addEventListener("click", () => setZoom(zoom * Number(button.dataset.by))));
  addEventListener("resize", drawAxis);

  if (video) {
    const tick = () => {
      now = video.currentTime;
      show();
      if (!video.paused) {
        follow();
        requestAnimationFrame(tick);
      }
    };
    video.addEventListener("play", () => requestAnimationFrame(tick));
    for (const name of ["seeked", "timeupdate"]) video.addEventListener(name, tick);
    video.addEventListener("error", () => {
      document.querySelector(".unplayable").hidden = false;
      video.hidden = true;
    });
    if (video.error) video.dispatchEvent(new Event("error"));
  }
  drawAxis();
  show();
})();
