// Fetches the page again and puts its parts in place of the old ones: one renderer, the daemon's.
(() => {
    const every_ms = 5000;
    const live = document.getElementById("live");
    let is_asking = false;

    async function refresh() {
        if (is_asking || document.hidden || !getSelection().isCollapsed)
            return;
        is_asking = true;
        try {
            const answer = await fetch(location.pathname, {cache: "no-store", signal: AbortSignal.timeout(4000)});
            if (!answer.ok)
                throw new Error(answer.status);
            const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
            document.title = fresh.title;
            document.querySelector("main").replaceWith(document.adoptNode(fresh.querySelector("main")));
            live.textContent = "live";
            live.className = "";
        } catch (error) {
            live.textContent = "the daemon does not answer; the figures are old";
            live.className = "bad";
        }
        is_asking = false;
    }

    if (location.protocol === "file:") { // of `ukai status --html`
        live.textContent = "a copy, which does not change";
        return;
    }
    live.textContent = "live";
    setInterval(refresh, every_ms);
})();
