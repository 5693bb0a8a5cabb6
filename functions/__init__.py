"""Functions that workflows may call as tasks of the kind `python_function`, as `functions.MODULE:NAME`.

They are copied into the image. FUNCTION_MODULES=functions allows all of them; docs/kinds/python_function.md says how.
"""
