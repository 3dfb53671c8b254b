interface Target {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

/**
 * Call `wake` when a connection may be possible again: the network is there, or the page is seen or shown again.
 * Call `doubt` when the network is gone, and `sleep` when the page goes: browsers do not keep a page with an open
 * WebSocket in their back/forward cache, or close it there.
 *
 * Nothing happens where there are no such events (Node.js). Returns what ends it.
 */
export function onWakeups(wake: () => void, doubt: () => void, sleep: () => void): () => void {
  const scope = globalThis as unknown as Partial<Target> & {document?: Target & {visibilityState: string}};
  const page = scope.document;
  const seen = () => { if (page?.visibilityState === 'visible') wake(); };
  const wanted: [Partial<Target> | undefined, string, () => void][] = [
    [scope, 'online', wake],
    [scope, 'offline', doubt],
    [scope, 'pageshow', wake],
    [scope, 'pagehide', sleep],
    [page, 'visibilitychange', seen],
  ];
  for (const [target, type, listener] of wanted) target?.addEventListener?.(type, listener);
  return () => {
    for (const [target, type, listener] of wanted) target?.removeEventListener?.(type, listener);
  };
}
