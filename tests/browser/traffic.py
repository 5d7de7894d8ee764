"""How much a page and its server say to one another."""


class Traffic:
    """Counts what a page and its server say to one another."""

    def __init__(self):
        self.sent, self.received = [], []

    def of(self, page):
        """To be called before the page is connected."""
        page.on("websocket", self._listen)

    def _listen(self, socket):
        socket.on("framesent", lambda frame: self.sent.append(len(frame)))
        socket.on("framereceived", lambda frame: self.received.append(len(frame)))

    def forget(self):
        self.sent.clear()
        self.received.clear()
