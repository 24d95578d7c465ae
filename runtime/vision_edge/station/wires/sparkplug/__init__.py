"""Sparkplug B: the station as an edge node, its sources as devices. May import wires and core.

Source: Eclipse Sparkplug 3.0.0 (ISO/IEC 20237).
"""
