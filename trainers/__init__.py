"""How players learn: values of a reference policy, objectives, and the loop of A*PO."""
