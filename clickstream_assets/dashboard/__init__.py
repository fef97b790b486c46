"""The dashboard: one list of panels, and what is made of it: a self-contained web page, and QuickSight's definition."""
