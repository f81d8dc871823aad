"""A headless Chromium, driven through Debian's chromedriver: W3C WebDriver is JSON over HTTP, so urllib will do."""
import base64
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER),
                                   reason='needs a browser: apt-get install chromium chromium-driver')
FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
         '--disable-component-update', '--disable-sync', '--no-first-run', '--disable-dev-shm-usage')


class Browser:
    """One window; a context manager. `folder` gets the browser's profile."""

    def __init__(self, folder: Path) -> None:
        assert DRIVER, 'see needs_browser'
        self.process = subprocess.Popen([DRIVER, '--port=0'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.search(r'started successfully on port (\d+)', line):
                self.url = f'http://127.0.0.1:{found[1]}/session'
                break
        wanted = {'goog:chromeOptions': {'binary': CHROMIUM, 'args': [*FLAGS, f'--user-data-dir={folder}']},
                  'goog:loggingPrefs': {'browser': 'ALL'}}
        self.url += '/' + self.call('', capabilities={'alwaysMatch': wanted})['sessionId']

    def __enter__(self) -> 'Browser':
        return self

    def __exit__(self, *_) -> None:
        try:
            self.call('', 'DELETE')
        finally:
            self.process.terminate()
            self.process.wait()

    def call(self, command: str, method: str = 'POST', **body):
        request = urllib.request.Request(f'{self.url}{command}', method=method,
                                         data=json.dumps(body).encode() if method == 'POST' else None)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)['value']

    def devtools(self, command: str, **parameters):
        return self.call('/goog/cdp/execute', cmd=command, params=parameters)

    def open(self, url: str, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a page at a size in CSS pixels, in light or dark."""
        self.devtools('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1,
                      mobile=width < 600)
        self.devtools('Emulation.setEmulatedMedia',
                      features=[{'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.call('/url', url=url)

    def run(self, script: str, *arguments):
        """The value of the body of a JavaScript function."""
        return self.call('/execute/sync', script=script, args=list(arguments))

    def type(self, css: str, keys: str) -> None:
        """Type into an element, or, for a file input, choose the file of that path."""
        element = self.call('/element', using='css selector', value=css)
        self.call(f'/element/{next(iter(element.values()))}/value', text=keys)

    def console(self) -> list[str]:
        """What went to the console since the last call."""
        return [entry['message'] for entry in self.call('/se/log', type='browser')]

    def overflows(self) -> list[str]:
        """The elements that stick out of the page to the right, but for those in a box that scrolls."""
        return self.run('''
            return [...document.body.querySelectorAll('*')].filter(e => !e.closest('.scroll *, svg *') &&
                e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(e => e.outerHTML
                .slice(0, 80))''')

    def screenshot(self, path: Path, whole: bool = True) -> None:
        shot = self.devtools('Page.captureScreenshot', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot['data']))
