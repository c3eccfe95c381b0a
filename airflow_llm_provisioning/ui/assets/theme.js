// Follows Airflow's own choice of colours, which its page keeps in this browser under this name (Airflow 3.3).
(() => {
  const follow = () => {
    let chosen = null;
    try { chosen = localStorage.getItem("theme"); } catch { /* A browser may forbid it: the system's colours stay. */ }
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
  };
  follow();
  addEventListener("storage", (event) => { if (event.key === "theme" || event.key === null) follow(); });
})();
