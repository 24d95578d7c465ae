"""What tests share: tiny bundles and hubs, real servers, a browser, stand-ins for hardware."""
