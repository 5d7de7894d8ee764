"""A way in: the first script run of a server looks for a page of this name here, and finds the frame."""

import app

app.main()
