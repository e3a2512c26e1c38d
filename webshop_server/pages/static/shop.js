"use strict";
// A choice leads to the page where it is chosen; there the keyboard goes on from the same choice.
const FOCUS = "turngym-focus";
for (const radio of document.querySelectorAll("input[type=radio][data-url]")) {
  radio.addEventListener("click", () => {
    sessionStorage.setItem(FOCUS, radio.id);
    location.href = radio.dataset.url;
  });
}
const chosen = sessionStorage.getItem(FOCUS);
sessionStorage.removeItem(FOCUS);
if (chosen) document.getElementById(chosen)?.focus();
// In a replay the arrow keys turn the steps.
document.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: "previous-step", ArrowRight: "next-step" }[event.key];
  if (step && !event.altKey && !event.ctrlKey && !event.metaKey) document.getElementById(step)?.click();
});
