"""Plans that follow the network: placements to choose from, estimates of what changes, and the choice per request."""
