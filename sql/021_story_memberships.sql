-- What was stored before there were links keeps the story that it had.
insert into news_membership (revision_id, known_at, story_id)
select distinct on (revision_id) revision_id, received_at, story_id from news_sentiment where story_id is not null
order by revision_id, received_at, news_id;
