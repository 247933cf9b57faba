"""A chat template: the text of one, in Jinja."""

PLAIN = """{% for message in messages %}<{{ message.role }}>{{ message.content }}</{{ message.role }}>
{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""
