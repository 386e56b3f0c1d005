"""The dashboard: pages in the browser, which ask nothing but the public API."""
